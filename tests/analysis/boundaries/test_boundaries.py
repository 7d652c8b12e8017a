"""Similarity of decision boundaries, on recognizers whose boundaries are known."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ra.analysis.boundaries.survey import (
    Survey,
    distances,
    loss_gradient,
    random_orthogonal,
    regions,
    similarities,
    survey_recognizers,
    unit,
)
from ra.analysis.boundaries.table import correlations, similarity_and_gain, transfer_gains
from ra.cli import main
from ra.errors import UserError
from ra.evaluation.statistics import accuracy
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor
from ra.models.recognizers import build_recognizer

SHAPE = (3, 4, 4)
SURVEY = Survey(grid=21, radius=0.2, steps=20, seed=0)


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
    return survey_recognizers(known, "own", plain, plain + 0.05 * noise, label, SURVEY, planes=3)


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


def write_evaluation(folder, p_model, training_r, hits: dict[str, list[int]], seed=0):
    """evaluation.csv and images.csv as ra evaluate writes them, as far as they are read here."""
    folder.mkdir(parents=True)
    identity = {"dataset": "d", "task": "sr", "p_model": p_model, "lambda": 0.001 * (seed >= 0)}
    identity |= {"training_r": training_r, "seed": seed}
    identity |= {"metric": "top1"}
    rows = [{**identity, "evaluation_r": r, **accuracy(pd.Series(h))} for r, h in hits.items()]
    pd.DataFrame(rows).to_csv(folder / "evaluation.csv", index=False)
    columns = {f"{r}:top1": h for r, h in hits.items()}
    pd.DataFrame({"index": range(len(hits["a"])), **columns}).to_csv(
        folder / "images.csv", index=False
    )
    return folder / "evaluation.csv"


def test_the_gain_is_paired_and_a_mean_over_seeds(tmp_path):
    plain = {"a": [0, 0, 1, 1], "b": [0, 1, 1, 0]}
    files = [write_evaluation(tmp_path / "plain", "plain", "none", plain)]
    for seed, b in enumerate(([1, 1, 1, 0], [0, 1, 1, 0])):
        hits = {"a": [1, 0, 1, 1], "b": b}
        files.append(write_evaluation(tmp_path / f"ra{seed}", "ra", "a", hits, seed))
    gains = transfer_gains(files).set_index("evaluation_r")
    assert gains.gain.to_dict() == {"a": 25, "b": 12.5}
    assert gains.n.to_dict() == {"a": 4, "b": 4}
    assert gains.low["a"] < 25 < gains.high["a"]


def test_gains_need_a_plain_p(tmp_path):
    file = write_evaluation(tmp_path / "ra", "ra", "a", {"a": [1, 0], "b": [0, 1]})
    with pytest.raises(UserError, match="no RA P and plain P"):
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


def test_correlation_is_within_tasks():
    """Within each task the gain falls with similarity, though the tasks together rise."""
    rows = [("sr", s, 10 - s) for s in range(4)] + [("dn", s, 30 - s) for s in range(10, 14)]
    table = pd.DataFrame(rows, columns=["task", "region_agreement", "gain"]).assign(training_r="r")
    table["distance_rho"], table["gradient_cosine"] = 0.1, table.gain
    found = correlations(table).set_index("similarity")
    assert found.spearman["region_agreement"] == pytest.approx(-1)
    assert found.p["region_agreement"] < 0.05 and found.pooled["region_agreement"] > 0
    assert np.isnan(found.spearman["distance_rho"])
    assert found.spearman["gradient_cosine"] == pytest.approx(1)


def test_correlation_within_training_rs_leaves_out_what_a_training_r_does_to_all():
    """A training R whose P's help more, and to which all R's are more alike: no relation within."""
    rows = [("a", s, g) for s, g in zip((1, 2, 3), (3, 1, 2), strict=True)]
    rows += [("b", s + 10, g + 10) for _, s, g in rows]
    table = pd.DataFrame(rows, columns=["training_r", "region_agreement", "gain"])
    table = table.assign(task="sr", distance_rho=0.1, gradient_cosine=0.1)
    found = correlations(table).set_index("similarity").loc["region_agreement"]
    assert found.spearman > 0.6 and found.spearman_within_r == pytest.approx(-0.5)


def test_a_chance_order_is_not_significant():
    table = pd.DataFrame({"task": "sr", "training_r": "r", "gain": [1, 2, 3, 4, 5, 6.0]})
    for name in ("region_agreement", "distance_rho", "gradient_cosine"):
        table[name] = [3, 1, 6, 2, 5, 4]
    found = correlations(table)
    assert (found.p > 0.3).all() and (found.spearman < 0.5).all()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two R's and two P's of an untrained experiment."""
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
