"""The DAG: how large it is, what a change re-runs, and what is said of a bad config."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, planned, snakemake, snakemake_command, write_images


@pytest.fixture
def copy(tmp_path):
    """The default experiment in a folder of its own, nothing run yet."""
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    return tmp_path


def test_the_default_experiment_has_one_p_per_task_and_objective(copy):
    run = snakemake(copy, "--dry-run", "--printshellcmds")
    assert planned(run) == {
        "prepare": 1,
        "train_recognizer": 4,
        "train": 9,
        "train_with_transformer": 3,
        "evaluate": 12,
        "evaluate_no_processing": 3,
        "tables": 1,
        "all": 1,
        "evaluate_clean": 1,
        "total": 35,
    }
    for task, weight in (("sr", "0.0005"), ("dn", "0.00025"), ("jpeg", "0.001")):
        assert re.search(rf"--task {task} .*--mode ra --l {weight} ", run.stdout + run.stderr)


def test_the_imagenet_preset_is_the_papers_experiment(tmp_path):
    preset = ROOT / "workflow/presets/imagenet.yaml"
    run = snakemake(
        tmp_path, "--dry-run", "-p", "--configfile", preset, "--config", "data=/data/imagenet"
    )
    jobs = planned(run)
    assert (jobs["train_recognizer"], jobs["train"], jobs["total"]) == (5, 21, 86)
    said = run.stdout + run.stderr
    paper = "--epochs 6 --batch-size 20 --optimizer adam --lr 0.0001 --lr-schedule step"
    assert f"{paper} --lr-steps 4 5 --lr-gamma 0.1" in said
    assert "--weights IMAGENET1K_V1" in said and "--resize 256 --crop 224" in said
    assert (
        "--mode ra_unsupervised --l 10 " in said
        and "--sr-arch SRResNet --channels 64 --blocks 5 " in said
    )
    assert " --paper --evaluations" in said


@pytest.mark.parametrize(("name", "total"), [("imagenet-fast", 86), ("imagenette", 37)])
def test_the_other_presets_are_whole(tmp_path, name, total):
    jobs = planned(
        snakemake(tmp_path, "-n", "--configfile", ROOT / f"workflow/presets/{name}.yaml")
    )
    assert (jobs["fetch_weights"], jobs["train_recognizer"], jobs["total"]) == (1, 5, total)


def test_the_slurm_profile_plans_the_papers_experiment(tmp_path):
    """Snakemake's own plugin takes the profile, account and partition."""
    pytest.importorskip("snakemake_executor_plugin_slurm")  # with the extra slurm
    preset, profile = (ROOT / "workflow" / part for part in ("presets/imagenet.yaml", "profiles"))
    run = snakemake(tmp_path, "-n", "--configfile", preset, "--workflow-profile", profile / "slurm")
    said = run.stdout + run.stderr
    assert planned(run)["total"] == 86
    assert "slurm_partition=your_partition" in said


def test_text_from_the_command_line_is_text(copy):
    """Snakemake takes 2024 and 1_2 for numbers."""
    run = snakemake(copy, "--dry-run", "-p", "--config", "data=2024", "dataset=1_2", "results=1_0")
    assert "ra prepare --data 2024 --name 1_2 " in run.stdout + run.stderr
    assert "--save-dir 1_0/1_2/data" in run.stdout + run.stderr


def test_the_transfer_matrix_trains_with_every_recognizer(copy):
    jobs = planned(snakemake(copy, "--dry-run", "transfer_matrix"))
    assert (jobs["train"], jobs["train_with_transformer"], jobs["evaluate"]) == (15, 12, 27)


def test_several_gpus_are_one_process_each(copy):
    run = snakemake(copy, "-n", "--config", "runtime={'gpus': 2, 'device': 'cuda'}")
    assert (
        "torchrun --standalone --nproc-per-node 2 -m -- ra train --data" in run.stdout + run.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "runtime", "provided"),
    [([], {"jobs_per_gpu": 3}, 6), (["--resources", "gpu=1"], {}, 1)],
)
def test_no_more_jobs_start_than_there_are_places_on_gpus(
    tmp_path, monkeypatch, arguments, runtime, provided
):
    """With the default `gpus: 0` too, where jobs take a GPU if they find one."""
    (tmp_path / "sitecustomize.py").write_text("import torch\ntorch.cuda.device_count = lambda: 2")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    config = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"data": "/none"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"runtime": runtime}))
    command = snakemake_command(tmp_path, "prepare", *arguments)
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert f'gpu=Resource("gpu", {provided})' in run.stderr


ZOO = ["resnet18", "shufflenet_v2_x1_0", "googlenet", "densenet121"]


def test_a_yaml_file_is_a_recognizer(copy):
    own = f"recognizers={{'train': ['my/net.yaml'], 'evaluate': {['my/net.yaml', *ZOO]}}}"
    (copy / "my").mkdir()
    (copy / "my/net.yaml").write_text("")
    run = snakemake(copy, "--dry-run", "--config", own)
    said = run.stdout + run.stderr
    assert planned(run)["train_recognizer"] == 4  # those of the zoo; ours is ready
    assert "--arch net --recognizer my/net.yaml" in said and "ra/l0.001/net/seed0" in said


def test_a_mistyped_recognizer_file_costs_no_table(copy):
    """Snakemake deletes what a failed job would have written, so the job never starts."""
    table = copy / "results/tables/sr.csv"
    table.parent.mkdir(parents=True)
    table.write_text("earlier\n")
    own = "recognizers={'train': ['resnet18'], 'evaluate': ['resnet18', 'my/nett.yaml']}"
    run = snakemake(copy, "--config", own)
    assert run.returncode == 1 and table.read_text() == "earlier\n"
    assert "my/nett.yaml: no such recognizer file" in run.stdout + run.stderr


def test_one_key_adds_seeds(copy):
    jobs = planned(snakemake(copy, "--dry-run", "--config", "seeds=[0,1]"))
    assert (jobs["train"], jobs["train_with_transformer"], jobs["evaluate"]) == (18, 6, 24)


def test_any_folder_is_a_data_set(copy):
    run = snakemake(copy, "--dry-run", "--printshellcmds", "--config", "data=/some/my photos")
    assert "results/my-photos/data/dataset.json" in run.stdout + run.stderr
    assert "--data '/some/my photos'" in run.stdout + run.stderr


def test_a_finished_experiment_has_nothing_to_do(tiny):
    place, _ = tiny
    run = snakemake(place, "--dry-run")
    assert "Nothing to be done" in run.stdout + run.stderr


def test_one_lambda_reruns_its_p_its_evaluation_and_the_tables(tiny):
    place, _ = tiny
    change = "objectives={'plain': 0, 'ra': 0.002, 'ra_transformer': 0.01}"
    jobs = planned(snakemake(place, "--dry-run", "--config", change))
    assert jobs == {"train": 1, "evaluate": 1, "tables": 1, "all": 1, "total": 4}


def test_a_changed_schedule_of_p_leaves_the_recognizers(tiny):
    place, _ = tiny
    change = "processor={'channels': 4, 'blocks': 1, 'schedule': {'epochs': 3, 'batch_size': 8}}"
    jobs = planned(snakemake(place, "--dry-run", "--config", change))
    assert jobs["train"] == 2 and "train_recognizer" not in jobs


def test_changed_images_and_weights_rerun_what_depends_on_them(tiny):
    place, config = tiny
    image = Path(config["data"], "val/a/0.png")
    weights = next(Path(config["data"]).parent.glob("*.pth"))
    before = {path: path.stat() for path in (image, weights)}
    try:
        os.utime(image, (1, 1))  # replaced by an older file
        jobs = planned(snakemake(place, "--dry-run"))
        assert {"prepare", "train_recognizer", "train", "evaluate", "tables"} <= jobs.keys()
        os.utime(image, ns=(0, before[image].st_mtime_ns))
        os.utime(weights)
        jobs = planned(snakemake(place, "--dry-run"))
        assert jobs == {
            "evaluate": 3,
            "evaluate_no_processing": 1,
            "tables": 1,
            "all": 1,
            "evaluate_clean": 1,
            "total": 7,
        }
    finally:
        for path, status in before.items():
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_where_it_runs_reruns_nothing(tiny):
    place, _ = tiny
    runtime = "runtime={'workers': 2, 'gpus': 1, 'device': 'cpu', 'checkpoint_seconds': 5}"
    tracking = "tracking={'enabled': False}"
    run = snakemake(place, "--dry-run", "--config", runtime, tracking)
    assert "Nothing to be done" in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("taks={}", "config key unknown key 'taks'; nearest: tasks"),
        ("tasks={'srr': {}}", "unknown task 'srr'; nearest: sr"),
        ("images={'crop': 30}", "images.crop: 30 px is not divisible by the scale of task sr, 4"),
    ],
)
def test_a_bad_config_is_one_line_before_any_job(copy, change, message):
    run = snakemake(copy, "--config", change)
    said = run.stdout + run.stderr
    assert run.returncode != 0 and message in said and "Traceback" not in said
    assert not (copy / "results").exists()


def test_a_bad_folder_ends_before_any_training(copy, tmp_path):
    root = write_images(tmp_path / "photos", train=1, val=1)
    (root / "val/a/0.png").write_bytes(b"nothing")
    run = snakemake(copy, "--config", f"data={root}")
    said = run.stdout + run.stderr
    assert "val/a/0.png cannot be read: is not an image" in said
    assert run.returncode != 0 and not list(copy.glob("results/*/recognizers"))


def test_every_rule_has_resources():
    """Also threads, where a job has more than Snakemake's default of one."""
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        text = path.read_text()
        for rule in re.split(r"^rule ", text, flags=re.M)[1:]:
            if "shell:" in rule:
                one = "**WRITING" in rule or "**READING" in rule
                several = [] if one else ["threads:"]
                for directive in ("resources:", *several):
                    assert directive in rule, f"{path.name}: {rule.split(':')[0]} lacks {directive}"


def test_commands_quote_what_comes_from_the_config(copy):
    run = snakemake(copy, "--dry-run", "--printshellcmds", "--config", "data=/x/$(touch pwned)")
    assert "'/x/$(touch pwned)'" in run.stdout + run.stderr


def test_plain_snakemake_reads_the_default_profile(tmp_path):
    """Snakemake looks beside the Snakefile, in profiles/: a link to workflow/profiles."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--dry-run"]
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    run = subprocess.run(
        [*command, "--directory", tmp_path], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 0 and f"profile {ROOT / 'profiles/default'}" in run.stderr
