"""A recorded step: the same numbers as operator by operator, and what cannot be recorded.

There is no GPU here: a recording is replaced by one that computes at each replay what was
recorded, from the memory of the recorded batch into that of the recorded losses.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from ra.cli import main
from ra.data.splits import Batch
from ra.errors import UserError
from ra.models.processors import build_processor
from ra.runtime.distributed import ALONE, Team
from ra.settings.shared import Schedule, TrainingRuntime
from ra.training import step as module
from ra.training.loop import optimizer_of
from ra.training.objectives import Phase, Plain
from ra.training.step import WARM_UP, Step

CUDA = torch.device("cuda")
SIZE = 4


def batch(number, images=SIZE):
    torch.manual_seed(number)
    target = torch.rand(images, 3, 8, 8)
    label = torch.zeros(images, dtype=torch.long)
    return Batch(target.sqrt(), target, label, torch.arange(images))


@pytest.fixture
def recordings(monkeypatch):
    """How often a step was recorded and replayed."""
    count = {"record": 0, "replay": 0}

    def record(compute, stream):
        count["record"] += 1
        losses = {name: torch.full((), torch.nan) for name in ("total", "image")}

        def replay():
            count["replay"] += 1
            for name, value in compute().items():
                losses[name].copy_(value)

        return losses, replay

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(module, "record", record)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    return count


class Twice(Plain):
    """Two phases, each with an optimizer and a rate of its own."""

    def phases(self):
        first, second = Phase(("processor",), self.losses), Phase(("processor",), self.losses, 0.5)
        return [first, second]


def trained(how, batches, optimizer="adam", state=None, device=CUDA):
    """(weights, losses of each step, the optimizer's state) after a step on each batch."""
    torch.manual_seed(0)
    objective = Twice(build_processor("SRResNet", 1, channels=4, blocks=1))
    networks = objective.modules["processor"]
    chosen = [optimizer_of([networks], Schedule(optimizer=optimizer)) for _ in range(2)]
    if state:
        networks.load_state_dict(state[0])
        for one, saved in zip(chosen, state[1], strict=True):
            one.load_state_dict(saved)
    step = Step(objective, chosen, SIZE, device, TrainingRuntime(step=how), ALONE)
    rates = [1e-3 / (number + 1) for number in range(len(batches))]
    losses = [step(b, lr)["image"].item() for b, lr in zip(batches, rates, strict=True)]
    return networks.state_dict(), losses, [one.state_dict() for one in chosen]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_recorded_training_computes_what_an_eager_one_does(recordings, optimizer):
    """Also where a smaller batch comes before, or between replays."""
    sizes = [4, 3, 4, 4, 4, 4, 3, 4, 5, 4]
    batches = [batch(number, images) for number, images in enumerate(sizes)]
    eager, wanted, _ = trained("eager", batches, optimizer)
    assert recordings == {"record": 0, "replay": 0}
    found, losses, _ = trained("graph", batches, optimizer)
    assert recordings == {"record": 1, "replay": 7 - WARM_UP}
    assert losses == pytest.approx(wanted, rel=1e-5)
    for name, value in eager.items():
        if value.dim() > 1:  # a bias before batch norm has no gradient but rounding
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_compiled_losses_are_those_of_whole_batches(recordings, monkeypatch):
    calls = []

    def compiled(losses, dynamic):
        return lambda given: calls.append(len(given.label)) or losses(given)

    monkeypatch.setattr(torch, "compile", compiled)
    batches = [batch(number, images) for number, images in enumerate([4, 3, 4, 4, 4, 4])]
    _, wanted, _ = trained("eager", batches)
    assert trained("compiled", batches)[1] == pytest.approx(wanted, rel=1e-5)
    assert calls == [4] * 10  # of two phases


@pytest.mark.parametrize(("before", "after"), [("graph", "eager"), ("eager", "graph")])
def test_a_training_resumes_in_the_other_way(recordings, before, after):
    batches = [batch(number) for number in range(8)]
    weights, _, state = trained(before, batches)
    state = torch.load(_stored(state), weights_only=True, map_location="cpu")
    _, wanted, _ = trained("eager", batches, state=(weights, trained("eager", batches)[2]))
    found = trained(after, batches, state=(weights, state))[1]
    assert found == pytest.approx(wanted, rel=1e-3)


def _stored(state):
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def test_what_waits_for_the_device_cannot_be_recorded(recordings, monkeypatch):
    def refuse(compute, stream):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(module, "record", refuse)
    with pytest.raises(
        UserError, match="step: 'graph' cannot record Twice .*operation not permitted"
    ):
        trained("graph", [batch(number) for number in range(WARM_UP + 1)])


def test_a_recording_is_for_one_process_on_a_gpu(prepared, tmp_path, capsys):
    command = ["train", "--data", prepared, "--task", "dn", "--mode", "plain", "--channels", "4"]
    command += ["--blocks", "1", "--device", "cpu", "--step", "graph", "--save-dir", tmp_path]
    assert main([str(part) for part in command]) == 1
    said = "step: 'graph' is for one process on a GPU, and this training has the cpu; choose eager"
    assert said in capsys.readouterr().err
    objective = Plain(build_processor("SRResNet", 1, channels=4, blocks=1))
    how = (objective, [optimizer_of([objective.processor], Schedule())], SIZE, CUDA)
    with pytest.raises(UserError, match="this training has 2 processes; choose eager"):
        Step(*how, TrainingRuntime(step="compiled"), Team(0, 2, 0, 2))
