# Reads the configuration and sets what all jobs share: environment, lock, places on GPUs.
import atexit
import os
import re
import socket
import sys
import uuid
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from ra.config import check_file, load_config
from ra.errors import UserError, one_line
from ra.files import alone
from ra.tracking.run import default_uri, deliver

# Another configuration replaces the default one; it is not merged into it. A workflow that uses
# this one as a module gives its own.
ALONE = workflow.modifier.is_main_snakefile()
if ALONE and not workflow.overwrite_configfiles:
    check_file("config.yaml")  # names file and line, which Snakemake does not

    configfile: "config.yaml"


if not os.access(".snakemake" if os.path.exists(".snakemake") else ".", os.W_OK):
    raise WorkflowError(f"{os.getcwd()}: read-only; Snakemake keeps its records in this folder")

# Snakemake reads `--config dataset=1_2` as the number 12.
for entry in (ALONE and workflow.config_settings.config_args) or ():
    key, _, text = entry.partition("=")
    if key in ("data", "dataset", "results"):
        config[key] = text

try:
    CONFIG = load_config(config)
except UserError as error:
    raise WorkflowError(str(error))


def plain_path(path):
    """``path``; through a link if it has signs that Snakemake ({}) or MLflow (?#%) interprets."""
    signs = re.compile("[{}?#%]")
    if not signs.search(path):
        return path
    folder, name = (path, "") if signs.search(os.path.basename(path)) else os.path.split(path)
    link = Path(".snakemake/links", sha256(os.path.abspath(folder).encode()).hexdigest()[:16])
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.abspath(folder))
    return os.path.join(link, name).rstrip("/")


RESULTS = plain_path(CONFIG.results.as_posix())

# Rules call the `ra` that is installed beside this Snakemake, even if no environment is active.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
)

# Where and how runs are recorded never changes a result, so it travels in the environment,
# where a change re-runs nothing.
os.environ.setdefault("RA_DAG_ID", f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}")
PROGRESS = str(CONFIG.results.absolute() / ".progress")  # where `ra watch` looks
PROGRESS = os.environ.setdefault("RA_PROGRESS", PROGRESS)
os.environ.update(MLFLOW_EXPERIMENT_NAME=CONFIG.tracking["experiment"])
if not CONFIG.tracking["enabled"]:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
elif CONFIG.tracking["uri"]:
    os.environ.update(MLFLOW_TRACKING_URI=CONFIG.tracking["uri"])
else:
    os.environ.setdefault("MLFLOW_TRACKING_URI", default_uri(RESULTS))

import torch  # here: a mistake in the configuration is told without waiting for it

# Jobs on this machine take no more GPUs at once than it has. `--resources gpu=N` sets another
# number; a cluster has its own.
GPUS = torch.cuda.device_count() if CONFIG.runtime["device"] in ("auto", "cuda") else 0
if workflow.local_exec and GPUS and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", GPUS * CONFIG.runtime["jobs_per_gpu"])


# In place of Snakemake's lock (see workflow/profiles/default): released however this ends.
RUNNING = alone(CONFIG.results)


onstart:
    try:
        RUNNING.__enter__()
    except (UserError, OSError) as error:
        raise WorkflowError(one_line(error))
    note_log(log)


def note_log(log):
    """Where `ra watch` finds how many jobs are done."""
    folder = Path(PROGRESS)
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / f"{socket.gethostname()}-{os.getpid()}.log"
    note.write_text(os.path.abspath(log[0]) if log else "")


def say_interrupted(log):
    """After Ctrl-C, below the errors that Snakemake makes of the jobs that it stopped."""
    if log and "on user request" in Path(log[0]).read_text(errors="replace"):
        said = "Stopped. Nothing is lost: the same command goes on where the jobs stopped."
        atexit.register(print, f"\n{said}", file=sys.stderr)


# Jobs do not wait until their records are in MLflow; the last ones of a run are seen to here.
onsuccess:
    deliver()


onerror:
    deliver()
    say_interrupted(log)
