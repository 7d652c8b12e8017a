"""Similarity of decision boundaries, on recognizers whose boundaries are known."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import write_evaluation
from torch import nn

from ra.analysis.boundaries.survey import (
    distances,
    loss_gradient,
    random_orthogonal,
    regions,
    similarities,
    survey_recognizers,
    unit,
)
from ra.analysis.boundaries.transfer import (
    AXES,
    correlations,
    relabelled,
    similarity_and_gain,
    transfer_gains,
)
from ra.analysis.settings import BoundarySurvey
from ra.cli import main
from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor

SHAPE = (3, 4, 4)
SURVEY = BoundarySurvey(grid=21, radius=0.2, steps=20, seed=0, planes=3)


class HalfSpace(nn.Module):
    """Class 1 where the image's component along ``normal`` (RMS 1) exceeds ``offset``."""

    def __init__(self, normal: torch.Tensor, offset: float) -> None:
        super().__init__()
        self.normal, self.offset = unit(normal[None])[0], offset

    def forward(self, x):
        along = (x * self.normal).mean(dim=(1, 2, 3)) - self.offset
        return torch.stack([-along, along], dim=1)


@pytest.fixture
def noise():
    return torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_the_random_direction_is_orthogonal_of_length_one_and_seeded(noise):
    free = random_orthogonal(noise, seed=3)
    assert torch.allclose((free * noise).mean(dim=(1, 2, 3)), torch.zeros(6), atol=1e-6)
    assert torch.allclose(free.square().mean(dim=(1, 2, 3)), torch.ones(6))
    assert torch.equal(free, random_orthogonal(noise, seed=3))
    assert not torch.allclose(free, random_orthogonal(noise, seed=4))


def test_distance_is_where_the_prediction_first_changes(noise):
    r, image = HalfSpace(noise[0], 0.105), torch.zeros(1, *SHAPE)
    toward = unit(noise[:1])
    assert distances(r, image, toward, SURVEY).item() == pytest.approx(0.11)
    assert distances(r, image, -toward, SURVEY).item() == float("inf")


def test_a_plane_shows_the_boundary_where_it_is(noise):
    u = unit(noise[:1])
    v = random_orthogonal(noise[:1], 0)
    seen = regions(HalfSpace(noise[0], 0.105), torch.zeros(SHAPE), u[0], v[0], SURVEY)
    columns = torch.linspace(-0.2, 0.2, 21)
    assert torch.equal(seen, (columns > 0.105).long().expand(21, 21))


def test_the_gradient_is_that_of_each_image_alone(noise):
    r = HalfSpace(noise[0], 0.0)
    label = torch.zeros(6, dtype=torch.long)
    together = loss_gradient(r, noise, label)
    assert torch.allclose(together[2:3], loss_gradient(r, noise[2:3], label[:1]), atol=1e-7)
    assert torch.cosine_similarity(together[0].flatten(), noise[0].flatten(), dim=0) > 0.999


def test_gradients_are_taken_of_batches_that_fit(noise):
    r, sizes = HalfSpace(noise[0], 0.0), []
    r.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    loss_gradient(r, torch.zeros(70, *SHAPE), torch.zeros(70, dtype=torch.long))
    assert sizes == [32, 32, 6]


def surveyed(others: dict[str, nn.Module], noise):
    generator = torch.Generator().manual_seed(0)
    plain = torch.rand(6, *SHAPE, generator=generator) * 0.2
    known = {"own": HalfSpace(noise[0], 0.05), **others}
    label = torch.tensor([0, 1, 0, 1, 0, 1])
    return survey_recognizers(known, "own", plain, plain + 0.05 * noise, label, SURVEY)


def by_measure(answers) -> pd.Series:
    return similarities(answers).set_index("measure")["value"]


def test_one_r_twice_is_wholly_similar(noise):
    found = by_measure(surveyed({"same": HalfSpace(noise[0], 0.05)}, noise))
    assert found["region_agreement"] == 100
    assert found["gradient_cosine"] == pytest.approx(1)
    assert found["distance_rho_ra"] == pytest.approx(1)


def test_another_normal_is_less_similar(noise):
    near = HalfSpace(noise[0] + 0.3 * noise[1], 0.05)
    far = HalfSpace(noise[1] - noise[0], 0.05)
    near, far = (by_measure(surveyed({"other": r}, noise)) for r in (near, far))
    for measure in ("region_agreement", "gradient_cosine"):
        assert far[measure] < near[measure]
    assert near["gradient_cosine"] > 0.8 and abs(far["gradient_cosine"]) < 0.9


def test_every_pair_has_every_measure_with_n(noise):
    others = {"b": HalfSpace(noise[1], 0), "c": HalfSpace(noise[2], 0)}
    table = similarities(surveyed(others, noise))
    assert len(table) == 3 * 5
    assert set(table[table.measure == "region_agreement"].n) == {3}
    assert set(table[table.measure == "gradient_cosine"].n) == {6}


def test_the_gain_is_paired_and_a_mean_over_seeds(tmp_path):
    files = [write_evaluation(tmp_path / "plain", "plain", {"a": "0011", "b": "0110"})]
    for seed, b in enumerate(("1110", "0110")):
        hits = {"a": "1011", "b": b}
        files.append(write_evaluation(tmp_path / str(seed), "ra", hits, seed=seed))
    gains = transfer_gains(files).set_index("evaluation_r")
    assert gains.gain.to_dict() == {"a": 25, "b": 12.5}
    assert gains.n.to_dict() == {"a": 4, "b": 4}
    assert gains.low["a"] < 25 < gains.high["a"]


def test_gains_need_a_plain_processor(tmp_path):
    file = write_evaluation(tmp_path / "ra", "ra", {"a": "10", "b": "01"})
    with pytest.raises(UserError, match="no recognition-aware and plain processor"):
        transfer_gains([file])


def pair(r_a, r_b, value, task="sr"):
    keys = {"task": task, "p_model": "ra", "lambda": 0.001, "training_r": "own"}
    measures = ["region_agreement", "gradient_cosine", "distance_rho_ra", "distance_rho_random"]
    return [{**keys, "r_a": r_a, "r_b": r_b, "measure": m, "value": value} for m in measures]


def test_only_pairs_with_the_training_r_meet_a_gain():
    pairs = pd.DataFrame(pair("own", "b", 0.5) + pair("c", "own", 0.2) + pair("b", "c", 0.9))
    keys = {"task": "sr", "p_model": "ra", "lambda": 0.001, "training_r": "own"}
    gains = pd.DataFrame(
        [{**keys, "evaluation_r": r, "gain": g} for r, g in {"own": 9, "b": 3, "c": 1}.items()]
    )
    table = similarity_and_gain(pairs, gains).set_index("evaluation_r")
    assert table.gain.to_dict() == {"b": 3, "c": 1}
    assert table.distance_rho.to_dict() == {"b": 0.5, "c": 0.2}


def crossed(tasks=("sr",), training="abcd", others="", **values) -> pd.DataFrame:
    """A row per task, training and other recognizer; ``values`` are functions of these three."""
    rows = [
        {"task": task, "p_model": "ra", "lambda": 0.001, "training_r": t, "evaluation_r": e}
        | {name: value(task, t, e) for name, value in values.items()}
        for task in tasks
        for t in training
        for e in [*training, *others]
        if t != e
    ]
    table = pd.DataFrame(rows)
    return table.assign(**{name: 0.1 for name in AXES if name not in values})


def of_measure(table, measure="region_agreement", **options) -> pd.DataFrame:
    found = correlations(table, **options)
    return found[found.similarity == measure].set_index("ranked_within")


def distance(_, t, e) -> float:
    return abs(ord(t) - ord(e)) + 0.1 * ord(t)


def test_correlation_is_within_tasks():
    """Within each task the gain falls with similarity, though the tasks together rise."""
    table = crossed(
        ("sr", "dn"),
        region_agreement=lambda task, t, e: distance(task, t, e) + 100 * (task == "dn"),
        gain=lambda task, t, e: 500 * (task == "dn") - distance(task, t, e),
    )
    found = of_measure(table)
    assert found.spearman[["task", "sr alone"]].tolist() == pytest.approx([-1, -1])
    assert found.p["task"] == pytest.approx(1 / 24), "one of 4! permutations is as extreme"
    assert np.isnan(found.p["sr alone"])
    constant = of_measure(table, "distance_rho")
    assert constant.spearman.isna().all() and constant.p_holm.isna().all()


def test_correlation_within_training_recognizers_leaves_out_what_one_does_to_all():
    """Gain and similarity both grow with the training recognizer, and not otherwise."""
    order = {"a": 1, "b": 3, "c": 2, "d": 4}
    table = crossed(
        region_agreement=lambda _, t, e: 100 * ord(t) + ord(e),
        gain=lambda _, t, e: 100 * ord(t) + order[e],
    )
    found = of_measure(table).spearman
    assert found["task"] > 0.9 and found["task and training R"] < found["task"] - 0.2


def test_p_is_adjusted_for_all_tests_of_the_table():
    table = crossed(gain=distance, **dict.fromkeys(AXES, distance))
    found = correlations(table).dropna(subset="p")
    assert len(found) == 6 and (found.p < 0.09).all()
    assert found.p_holm.min() == pytest.approx(6 * found.p.min())


def test_recognizers_that_only_evaluate_change_places_among_themselves():
    table = crossed(training="ab", others="xyz", gain=distance)
    assert len(relabelled(table, 100)) == 2 * 6
    assert (relabelled(table, 100)[0] == range(len(table))).all()
    some = relabelled(table, 10)
    assert len(some) == 11 and (np.sort(some) == range(len(table))).all()
    incomplete = table[(table.training_r != "b") | (table.evaluation_r != "x")]
    assert len(relabelled(incomplete, 100)) == 2, "only y and z may change places"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two recognizers and two processors of an untrained experiment."""
    place = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for arch in ("mobilenet_v3_small", "shufflenet_v2_x0_5"):
        header = {"kind": "recognizer", "arch": arch, "classes": ["a", "b", "c"]}
        save_model(place / f"{arch}.safetensors", build_recognizer(arch, 3), header)
    for objective, weight, r in (("plain", 0.0, "none"), ("ra", 0.001, "mobilenet_v3_small")):
        header = {"kind": "processor", "dataset": "tiny", "task": "sr", "objective": objective}
        header |= {"lambda": weight, "recognizer": r, "seed": 0, "task_settings": {"factor": 2}}
        p = build_processor("SRResNet", scale=2, channels=4, blocks=1)
        save_model(place / f"{objective}.safetensors", p, header)
    return place


def boundaries(prepared, models, out, recognizers):
    files = [str(models / f"{arch}.safetensors") for arch in recognizers]
    words = ["boundaries", "--data", prepared, "--plain", models / "plain.safetensors"]
    words += ["--ra", models / "ra.safetensors", "--recognizers", *files, "--images", 5]
    words += ["--planes", 2, "--grid", 5, "--steps", 3, "--save-dir", out, "--device", "cpu"]
    return main([str(word) for word in words])


def test_the_command_gives_the_same_table_each_time(prepared, models, tmp_path):
    archs = ["mobilenet_v3_small", "shufflenet_v2_x0_5"]
    for name in ("one", "two"):
        assert boundaries(prepared, models, tmp_path / name, archs) == 0
    first, second = ((tmp_path / n / "pairs.csv").read_bytes() for n in ("one", "two"))
    assert first == second
    table = pd.read_csv(tmp_path / "one/pairs.csv")
    assert set(table.training_r) == {"mobilenet_v3_small"} and len(table) == 5
    assert set(table.r_a) == {"mobilenet_v3_small"} and set(table.r_b) == {"shufflenet_v2_x0_5"}
    assert (tmp_path / "one/planes.png").stat().st_size > 5000


def test_the_training_r_must_be_among_them(prepared, models, tmp_path, capsys):
    assert boundaries(prepared, models, tmp_path, ["shufflenet_v2_x0_5"]) == 1
    assert "mobilenet_v3_small, with which" in capsys.readouterr().err
