"""`snakemake analysis`: boundaries, the black box and the kinds of recognizers."""

import pytest
import yaml
from helpers import ROOT, planned, snakemake

RESULTS = [
    f"results/analysis/{name}"
    for name in ("boundaries/boundaries.md", "kinds.csv", "black_box/agreement.md")
]


def default(folder, **changes):
    """The default experiment in ``folder``, nothing run yet."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text()) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_the_default_analyses_train_what_the_tables_need(tmp_path):
    run = snakemake(default(tmp_path), "--dry-run", "-p", *RESULTS)
    jobs = planned(run)
    # Plain and RA of three tasks, RA by each of four R's. On the scenes a recognizer of each of
    # three kinds, and plain and RA through each and through all of them.
    assert (jobs["train"], jobs["boundaries"], jobs["black_box"]) == (15, 12, 1)
    assert (jobs["kinds_train_recognizer"], jobs["kinds_train"]) == (3, 15)
    assert (jobs["evaluate_on_scenes"], jobs["kinds_evaluate"]) == (6, 15)
    assert jobs["kinds_evaluate_clean"] == 1 and jobs["kinds_evaluate_no_processing"] == 3
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
    assert (jobs["train"], jobs["kinds_train"], jobs["boundaries"]) == (30, 30, 12)


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


def test_without_their_configuration_there_are_no_kinds(tmp_path):
    run = snakemake(
        default(tmp_path),
        "--dry-run",
        "analysis",
        "--config",
        "analysis={'kinds': {'config': null}}",
    )
    assert not [job for job in planned(run) if job.startswith("kinds")]


def test_processors_of_imagenet_are_evaluated_by_a_detector_of_voc(tmp_path):
    (tmp_path / "VOCdevkit").mkdir()
    preset = ROOT / "workflow/presets/imagenet-fast.yaml"
    kinds = {"config": "workflow/presets/voc.yaml", "data": str(tmp_path / "VOCdevkit")}
    given = ["data=/data/imagenet", f"analysis={{'kinds': {kinds}}}"]
    run = snakemake(
        tmp_path, RESULTS[1], "--dry-run", "-p", "--configfile", preset, "--config", *given
    )
    jobs, said = planned(run), run.stdout + run.stderr
    assert jobs["kinds_train_recognizer"] == 1 and jobs["evaluate_on_scenes"] >= 6
    assert "--train-sets VOC2007/Main/trainval VOC2012/Main/trainval" in said
    assert "--arch fasterrcnn_resnet50_fpn --weights IMAGENET1K_V1" in said


@pytest.mark.parametrize("name", ["voc", "voc-segmentation", "scenes"])
def test_a_configuration_of_other_kinds_also_runs_alone(tmp_path, name):
    (tmp_path / "VOCdevkit").mkdir()
    given = [] if name == "scenes" else ["--config", f"data={tmp_path / 'VOCdevkit'}"]
    preset = ROOT / f"workflow/presets/{name}.yaml"
    jobs = planned(snakemake(tmp_path, "--dry-run", "--configfile", preset, *given))
    assert jobs["tables"] == 1 and jobs["train"] >= 6
