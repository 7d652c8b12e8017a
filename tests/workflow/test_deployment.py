"""The files that install the workflow, describe it and use it from elsewhere."""

import re
import subprocess
import sys

import pytest
import yaml
from helpers import ROOT, clean_environment, fork, planned, snakemake, snakemake_command


def test_pip_accepts_the_list_of_the_conda_environment(tmp_path):
    """pip refuses options of a command, such as --no-deps, and editable installs beside hashes."""
    req_file = pytest.importorskip("pip._internal.req.req_file")
    network = pytest.importorskip("pip._internal.network.session")
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    # Beside the lock, as conda does it.
    (tmp_path / "requirements.lock").symlink_to(ROOT / "requirements.lock")
    (tmp_path / "pip.txt").write_text("\n".join(pip))
    found = list(
        req_file.parse_requirements(str(tmp_path / "pip.txt"), session=network.PipSession())
    )
    assert len(found) > 50
    assert all(one.options.get("hashes") and not one.is_editable for one in found)


def test_the_catalog_claims_what_the_rules_have():
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert catalog["usage"]["software-stack-deployment"]["conda"] is ("conda:" in rules)


def test_the_catalogs_snakefile_is_the_whole_workflow(tmp_path):
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    command = snakemake_command(tmp_path, "--dry-run")
    command[command.index(str(ROOT / "Snakefile"))] = str(ROOT / "workflow/Snakefile")
    assert planned(fork(command, tmp_path))["train"] == 9


def test_another_workflow_uses_this_one_as_a_module(tmp_path):
    ours = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"results": "inner"}
    (tmp_path / "Snakefile").write_text(
        f"module m:\n    snakefile: {str(ROOT / 'Snakefile')!r}\n    config: config\n\n"
        "use rule * from m as m_*\n\nrule mine:\n    default_target: True\n"
        "    input: rules.m_all.input, rules.m_analysis.input\n"
    )
    (tmp_path / "outer.yaml").write_text(yaml.safe_dump(ours))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run"]
    command += ["--configfile", "outer.yaml"]
    run = fork(command, tmp_path)
    assert planned(run)["m_train"] == 30 and "inner/tables/all.csv" in run.stdout + run.stderr
    # Every job says what it does, instead of Snakemake's "rule m_train:".
    said = set(re.findall(r"^(?:local)?rule (\w+):", run.stdout + run.stderr, re.M))
    assert said <= {"mine", "m_all", "m_analysis"}


def test_remote_data_is_fetched_before_it_is_prepared(tmp_path):
    """The Snakefile of docs/data.md; a file stands for the storage, whose plugin is not ours."""
    page = (ROOT / "docs/data.md").read_text()
    (text,) = re.findall(r"```snakemake\n(configfile.*?)```", page, re.S)
    text = text.replace("/path/to/ra/Snakefile", str(ROOT / "Snakefile"))
    text, stood_in = re.subn(r'storage\("[^"]+"\)', '"photos.tar"', text)
    (tmp_path / "Snakefile").write_text(text)
    (tmp_path / "photos.tar").touch()
    config = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"data": "photos"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run"]
    run = fork(command, tmp_path)
    jobs = planned(run)
    assert (stood_in, jobs["fetch"], jobs["prepare"], jobs["train"]) == (1, 1, 1, 9)
    prepare = run.stdout[run.stdout.index("prepare photos") :].partition("\n[")[0]
    assert "Input files updated by another job: photos" in prepare


def test_snakemakes_lint_finds_nothing(tmp_path):
    """Only what is so on purpose: rules use the environment that Snakemake itself runs in."""
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    run = snakemake(tmp_path, "--lint")
    titles = set(re.findall(r"^ *\* (.*)", run.stdout + run.stderr, re.M))
    assert titles == {"Specify a conda environment or container for each rule.:"}


def test_a_home_that_cannot_be_written_is_not_needed(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    monkeypatch.setenv("HOME", "/proc/nothing")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    command = snakemake_command(tmp_path, "--dry-run")
    run = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    assert planned(run)["total"] == 35


def test_the_slurm_plugin_comes_with_its_extra_only():
    """It calls programs that a machine without Slurm may lack, at every start of Snakemake."""
    assert "slurm" not in (ROOT / "requirements.lock").read_text()
