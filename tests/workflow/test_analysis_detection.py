"""`snakemake analysis`: boundaries, the black box and detection."""

import pytest
import yaml
from helpers import ROOT, planned, snakemake

RESULTS = [f"results/analysis/{name}/{name}.md" for name in ("boundaries", "detection")] + [
    "results/analysis/black_box/agreement.md"
]


def default(folder, **changes):
    """The default experiment in ``folder``, nothing run yet."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text()) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_the_default_analyses_train_what_the_tables_need(tmp_path):
    run = snakemake(default(tmp_path), "--dry-run", "-p", *RESULTS)
    jobs = planned(run)
    # Plain and RA of three tasks, RA by each of four R's; one detector, and on its images two P's
    # of each task.
    assert (jobs["train"], jobs["boundaries"], jobs["black_box"]) == (15, 12, 1)
    assert (jobs["compose_detection"], jobs["train_detector"]) == (1, 1)
    assert (jobs["train_through_detector"], jobs["evaluate_detection"]) == (6, 3)
    assert jobs["evaluate_through_detector"] == 6 and jobs["evaluate_no_processing"] == 3
    # The default black box is an R that trains no P.
    said = run.stdout + run.stderr
    assert "--command 'ra predict-label " in said and "{files}" in said
    assert "--recognizer results/embedded/recognizers/densenet121/recognizer.safetensors" in said


def test_without_ra_there_is_nothing_to_compare(tmp_path):
    copy = default(tmp_path, objectives={"plain": 0})
    jobs = planned(snakemake(copy, "--dry-run", "analysis"))
    assert not {"boundaries_table", "black_box"} & jobs.keys()


def test_one_key_adds_seeds(tmp_path):
    run = snakemake(default(tmp_path), "--dry-run", *RESULTS, "--config", "seeds=[0, 1]")
    jobs = planned(run)
    assert (jobs["train"], jobs["train_through_detector"], jobs["boundaries"]) == (30, 12, 12)


def test_boundaries_of_the_training_r_alone_train_one_ra_p_a_task(tmp_path):
    settings = "analysis={'boundaries': {'training': 'train'}}"
    jobs = planned(snakemake(default(tmp_path), "--dry-run", RESULTS[0], "--config", settings))
    assert (jobs["train"], jobs["boundaries"]) == (6, 3)


def test_an_endpoint_takes_its_place(tmp_path):
    box = "analysis={'black_box': {'url': 'https://x.org/y', 'label_path': 'a.0', 'key_env': 'K'}}"
    run = snakemake(default(tmp_path), "--dry-run", "-p", RESULTS[-1], "--config", box)
    said = run.stdout + run.stderr
    assert "--url https://x.org/y" in said and "--label-path a.0" in said and "--key-env K" in said
    assert "predict-label" not in said


@pytest.fixture
def voc(tmp_path):
    """Empty image sets where the devkit has them."""
    for name in ("VOC2007/trainval", "VOC2012/trainval", "VOC2007/test"):
        year, part = name.split("/")
        path = tmp_path / f"VOCdevkit/{year}/ImageSets/Main/{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "VOCdevkit"


def test_the_voc_preset_evaluates_and_trains_on_its_sets(voc, tmp_path):
    preset = ROOT / "workflow/presets/voc.yaml"
    given = ["data=/data/imagenet", f"analysis={{'detection': {{'data': '{voc}'}}}}"]
    run = snakemake(
        tmp_path, RESULTS[1], "--dry-run", "-p", "--configfile", preset, "--config", *given
    )
    jobs = planned(run)
    assert "compose_detection" not in jobs and jobs["train_detector"] == 1
    assert (jobs["train_through_detector"], jobs["evaluate_detection"]) == (6, 3)
    said = run.stdout + run.stderr
    detector = "--arch fasterrcnn_resnet50_fpn --name voc --weights IMAGENET1K_V1 --side 512"
    assert f"--data {voc} --sets VOC2007/trainval VOC2012/trainval {detector}" in said
    assert f"ra evaluate-detection --data {voc} --sets VOC2007/test " in said
