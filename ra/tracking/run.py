"""What a job records in MLflow: it records and never steers.

A job appends events to a journal on the local disk (``ra.tracking.journal``: microseconds, no
MLflow, no network) and sees to it that a process delivers them (``ra.tracking.deliver``). It never
waits for that process.
"""

import contextlib
import getpass
import logging
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from ra.errors import UserError
from ra.tracking.deliver import deliver, prepare_store, store_module
from ra.tracking.journal import (
    Journal,
    database_of,
    default_uri,
    is_held,
    one_line,
    redact,
    shown,
    spool_of,
)

__all__ = ["Run", "default_uri", "deliver", "download_model", "prepare_store", "start_run"]

_log = logging.getLogger("ra")
CHECK_S = 30.0  # a running session looks this often whether its records are being delivered


def start_run(
    name: str,
    kind: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] = {},
    uri: str | None = None,
    experiment: str = "ra",
    parent_run_id: str | None = None,
    run_id: str | None = None,
) -> "Run":
    """Begin a run, or continue ``run_id``; to be used in a ``with`` statement. Never raises.

    Args:
        name: for people: "RA sr 0.001 resnet18 seed0".
        kind: "train", "train-recognizer", "evaluate" or "table".
        params: logged as MLflow parameters; a continued run keeps the values it has.
        tags: task, objective, lambda, recognizer, dataset and so on.
        uri: MLflow's tracking URI; None takes $MLFLOW_TRACKING_URI, and without it nothing is done.
        parent_run_id: ``run_id`` of the run under which this one is nested.
        run_id: ``run_id`` of the run to continue; one the store does not know is begun anew.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    if not uri:
        return Run(None, None, "")
    run_id = re.sub(r"[^\w-]", "_", run_id or uuid.uuid4().hex)[:64]
    tags = {**_automatic_tags(kind), "ra.run": run_id, **_texts(tags)}
    start: dict[str, Any] = {"experiment": experiment, "run": run_id, "name": name}
    start |= {"parent": parent_run_id, "params": _texts(params), "tags": tags}
    spool = spool_of(uri)
    try:
        return Run(Journal(spool, run_id, start), run_id, uri)
    except OSError as error:
        _log.warning("tracking is off: cannot write to %s: %s", spool, error.strerror)
        return Run(None, None, "")


class Run:
    """A run being recorded; with tracking off every method does nothing.

    ``run_id`` is ours and known at once, even while the store is down; the store gives the run an
    id of its own later. The UI finds a run by the filter ``tags.`ra.run` = '…'``.
    """

    def __init__(self, journal: Journal | None, run_id: str | None, uri: str):
        self.run_id = run_id
        self._journal = journal
        self._uri = uri
        self._deliverer: subprocess.Popen | None = None
        self._begin = time.monotonic()
        if journal:
            self._check()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if not self._journal:
            return
        status = _status(error)
        if status == "FAILED":
            self.set_tags({"error": f"{kind.__name__}: {one_line(error)}"})
        self.log_metrics({"wall_s": time.monotonic() - self._begin})
        self._journal.write("end", status=status)
        self._check()
        self._journal.close()
        self._journal = None

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers; returns in microseconds, whatever the store does."""
        if not self._journal:
            return
        try:
            values = {key: float(value) for key, value in metrics.items()}
        except (TypeError, ValueError) as error:
            _log.warning("tracking: metrics of step %d left out: %s", step, error)
            return
        self._journal.write("metrics", step=int(step), values=values)
        if time.monotonic() - self._checked > CHECK_S:
            self._check()

    def log_artifact(self, path: Path | str, folder: str = "") -> None:
        """Record a file by its path: it is copied when delivered, so it must stay that long.

        Pictures (.png) of one name stand side by side in the UI.
        """
        self._write("artifact", path=str(Path(path).absolute()), folder=folder)

    def log_table(self, path: Path | str) -> None:
        """Record the first lines of a CSV file as a table, which the UI compares between runs."""
        self._write("table", path=str(Path(path).absolute()))

    def log_headline(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Record numbers of an earlier run, such as the accuracy that its training led to."""
        self._write("headline", run=run_id, step=0, values=dict(metrics))

    def log_dataset(self, name: str, digest: str, source: str, use: str, **profile: Any) -> None:
        """Record which data the run uses: ``source`` is its folder, ``use`` training or validation,
        ``profile`` has numbers of images, classes and so on.
        """
        self._write("dataset", name=name, digest=digest, source=source, use=use, profile=profile)

    def log_model(
        self, name: str, files: list[Path], description: str, tags: Mapping, alias: str = ""
    ) -> None:
        """Register a processor (and its transformer) as a new version of the model ``name``.

        With ``alias``, the version is new only where the model has none with these files.
        """
        paths = [str(Path(path).absolute()) for path in files]
        about = {"description": description, "tags": _texts(tags), "alias": alias}
        self._write("model", name=name, files=paths, **about)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record texts; a tag that is there is replaced."""
        self._write("tags", tags=_texts(tags))

    def _write(self, event: str, **content: Any) -> None:
        if self._journal:
            self._journal.write(event, **content)

    def _check(self) -> None:
        """Start a deliverer where none is at work."""
        self._checked = time.monotonic()
        starting = self._deliverer and self._deliverer.poll() is None
        if not starting and not is_held(self._journal.path.with_name("lock")):
            self._deliverer = _start_deliverer(self._journal.path.parent, self._uri)


def _start_deliverer(spool: Path, uri: str) -> subprocess.Popen | None:
    """Start ``ra.tracking.deliver``; without it the journal is left to the next run."""
    path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The URI travels in the environment, where other users cannot read it.
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path)
    try:
        with open(spool / "log", "a", opener=partial(os.open, mode=0o600)) as log:
            command = [sys.executable, "-P", "-m", "ra.tracking.deliver", "follow"]
            streams: Any = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            # A session of its own: a Ctrl-C or a kill of the job leaves it to finish.
            return subprocess.Popen(command, env=environment, start_new_session=True, **streams)
    except OSError:
        return None


def download_model(uri: str) -> Path:
    """The folder with processor.safetensors of a model in MLflow's registry or of a run.

    Args:
        uri: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``runs:/ID/model``; of the store at
            $MLFLOW_TRACKING_URI, by default results/mlflow.db.
    """
    store = os.environ.get("MLFLOW_TRACKING_URI") or default_uri("results")
    database = database_of(store)
    if database and not database.exists():
        raise UserError(f"{database}: no such store; set MLFLOW_TRACKING_URI to that of {uri}")
    try:
        prepare_store(store)
        return next(store_module().download(uri, store).rglob("processor.safetensors")).parent
    except Exception as error:  # whatever store and network make it raise
        nothing = isinstance(error, StopIteration)
        reason = "no processor.safetensors in it" if nothing else one_line(error)
        raise UserError(f"{uri}: could not be downloaded from {shown(store)} ({reason})") from None


def _status(error: BaseException | None) -> str:
    """MLflow's status of a run that ends with ``error``."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"


def _automatic_tags(kind: str) -> dict[str, str]:
    tags = {"ra.kind": kind, "ra.host": socket.gethostname()}
    tags |= {"mlflow.source.name": f"ra {kind}", "mlflow.source.type": "LOCAL"}
    if "RA_DAG_ID" in os.environ:
        tags["ra.dag"] = os.environ["RA_DAG_ID"]
    with contextlib.suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        commit = subprocess.check_output(
            ["git", "rev-parse", "--verify", "HEAD"],
            cwd=Path(__file__).parent,  # the code's, not that of the folder of the experiment
            text=True,
            timeout=5,
            stderr=subprocess.DEVNULL,
        )
        tags["mlflow.source.git.commit"] = commit.strip()
    return tags


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): redact(str(value)) for key, value in values.items()}
