"""`snakemake analysis`: categories, the lambda sweep and what goes beyond the paper."""

import re

import pandas as pd
import pytest
from helpers import ROOT, planned, snakemake

RESULTS = [
    f"results/analysis/{name}.{kind}"
    for name in ("categories", "lambdas", "extras")
    for kind in ("csv", "md", "png")
]


@pytest.fixture
def copy(tmp_path):
    """The default experiment in a folder of its own, nothing run yet."""
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    return tmp_path


def test_the_default_analyses_train_what_the_tables_need(copy):
    jobs = planned(snakemake(copy, "--dry-run", *RESULTS))
    # Three tasks: plain and four lambdas of RA; one: RA at its own lambda, the ensemble and the
    # perceptual loss; SR4IR trains its recognizer as well, by another rule.
    assert (jobs["train"], jobs["evaluate"], jobs["train_recognizer"]) == (18, 19, 4)
    # Three tasks, two halves, plain and RA; each judged by both halves.
    assert (jobs["train_half_recognizer"], jobs["train_half"], jobs["evaluate_half"]) == (2, 12, 24)
    assert jobs["evaluate_half_clean"] == 2
    assert (jobs["train_other_processor"], jobs["fine_tune"]) == (2, 4)
    assert (jobs["categories"], jobs["lambda_sweep"], jobs["extras"]) == (1, 1, 1)


def test_analysis_asks_for_all_of_them(copy):
    run = snakemake(copy, "--dry-run", "analysis")
    jobs = planned(run)
    assert {"categories", "lambda_sweep", "extras"} <= jobs.keys()
    assert {"boundaries_table", "black_box", "kinds"} <= jobs.keys()


def test_a_sweep_trains_only_what_the_experiment_lacks(tiny):
    place, _ = tiny
    sweep = "analysis={'lambdas': {'objectives': {'ra': [0.001, 0.01]}}}"
    run = snakemake(place, "lambda_sweep", "--dry-run", "--config", sweep)
    assert planned(run) == {"train": 1, "evaluate": 1, "lambda_sweep": 1, "total": 3}


def test_an_ensemble_is_trained_with_the_files_of_its_members(tiny):
    place, _ = tiny
    second = "'processors': {'sr': {'arch': 'SRDenseNet'}}"
    extras = f"analysis={{'extras': {{'ensemble': ['squeezenet1_1', 'own'], {second}}}}}"
    run = snakemake(place, "extras", "--dry-run", "-p", "--config", extras)
    said = run.stdout + run.stderr
    stored = r"'[^']+/tiny/recognizers/squeezenet1_1/recognizer.safetensors'"
    assert re.search(rf"--arch squeezenet1_1\+own --recognizer {stored} \S+/own.yaml ", said)
    assert "--sr-arch SRDenseNet" in said
    assert "--mode perceptual --l 0.001 --arch squeezenet1_1" in said
    assert re.search(r"--fine-tune '[^']+' --model-sr '[^']+/plain/l0/none/seed0/processor", said)


def test_every_p_of_the_tables_is_tested_against_plain(tiny):
    place, _ = tiny
    table = pd.read_csv(place / "results/tables/significance.csv")
    assert table.groupby("p_model").size().to_dict() == {"ra": 2, "ra_transformer": 2}
    images = {
        p: pd.read_csv(place / f"results/tiny/sr/{p}/seed0/images.csv")
        for p in ("plain/l0/none", "ra/l0.001/squeezenet1_1")
    }
    plain, ra = (frame["squeezenet1_1:top1"].mean() for frame in images.values())
    row = table.query("p_model == 'ra' and evaluation_r == 'squeezenet1_1'").squeeze()
    assert row.difference == pytest.approx(100 * (ra - plain)) and row.n == 12
