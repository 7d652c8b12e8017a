"""What the workflow says of itself while it runs, and when it is stopped."""

import os
import signal
import subprocess
import time
from pathlib import Path

from helpers import ROOT, clean_environment, snakemake_command

from ra.jobs.watch import workflows

SNAKEFILE = f"""
include: "{ROOT}/workflow/rules/setup.smk"


rule all:
    output:
        "done",
    shell:
        "sleep 100"
"""


def test_ctrl_c_says_last_that_nothing_is_lost_and_watch_counts_jobs(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "config.yaml").symlink_to(ROOT / "config.yaml")
    command = snakemake_command(tmp_path, "--snakefile", tmp_path / "Snakefile")
    run = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    progress, end = tmp_path / "results/.progress", time.monotonic() + 60
    while not workflows(progress) and run.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    assert workflows(progress) == ["0 of 1 jobs done"]
    log = Path(next(progress.glob("*.log")).read_text())
    while "jobid: 0" not in log.read_text() and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    said = run.communicate(timeout=60)[1].strip().splitlines()
    assert run.returncode == 1 and "same command goes on" in said[-1]
    assert workflows(progress) == [] and not list(progress.iterdir())
