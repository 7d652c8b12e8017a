"""What a job says to MLflow: it records and never steers.

A job writes its events into a journal in the spool (``ra.tracking.journal``: microseconds, no MLflow, no
network); a courier process, shared by the jobs of one spool, delivers them
(``ra.tracking.deliver``, the only file that imports MLflow).
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ra.errors import UserError
from ra.system import Sampler
from ra.tracking import journal as spools
from ra.tracking.deliver import absolute, database_of, prepare_store
from ra.tracking.journal import Journal, strip_credentials

__all__ = ["Run", "default_uri", "deliver", "download_model", "prepare_store", "start_run"]

_log = logging.getLogger("ra")

CHECK_S = 10.0  # a running session looks this often whether the courier is well
WAIT_S = {"local": 60.0, "remote": 10.0, "killed": 2.0}  # the longest waits at a run's end


def default_uri(results_dir: Path | str) -> str:
    """The SQLite store in the results folder."""
    return f"sqlite:///{Path(results_dir).absolute() / 'mlflow.db'}"


def start_run(
    name: str,
    kind: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] = {},
    uri: str | None = None,
    experiment: str = "ra",
    parent_run_id: str | None = None,
    run_id: str | None = None,
    spool: Path | None = None,
) -> Run:
    """Begin a run, or continue ``run_id``; to be used in a ``with`` statement. Never raises.

    Args:
        name: for people: "sr ra l=0.001 resnet18 seed0".
        kind: "train", "train-recognizer" or "evaluate".
        params: logged as MLflow parameters; a continued run keeps the values it has.
        tags: task, objective, lambda, recognizer, dataset and so on.
        uri: MLflow's tracking URI; None takes $MLFLOW_TRACKING_URI, and without it nothing is done.
        parent_run_id: ``run_id`` of the run under which this one is nested.
        run_id: ``run_id`` of the run to continue; one the store does not know is begun anew.
        spool: folder of the journals; by default ``.spool`` beside the SQLite store, else
            ``results/.spool``. Jobs that share it share a courier.
    """
    uri = absolute(uri or os.environ.get("MLFLOW_TRACKING_URI") or "")
    if not uri:
        return Run(None, None, "")
    database = database_of(uri)
    spool = Path(spool or (database.parent if database else Path("results")) / ".spool").absolute()
    run_id = re.sub(r"[^\w-]", "_", run_id or uuid.uuid4().hex)[:64]
    start = {
        "store": strip_credentials(uri),
        "experiment": experiment,
        "run": run_id,
        "name": name,
        "parent": parent_run_id,
        "params": {str(key): strip_credentials(str(value)) for key, value in params.items()},
        "tags": {**_automatic_tags(kind), "ra.run": run_id, **_texts(tags)},
    }
    try:
        return Run(Journal(spool, run_id, start), run_id, uri)
    except OSError as error:
        _log.warning("tracking is off: cannot write to %s: %s", spool, error.strerror)
        return Run(None, None, "")


class Run:
    """A run being recorded; with tracking off every method does nothing.

    ``run_id`` is ours and known at once, also while the store is down; MLflow's own id is given by
    the store later. The UI finds a run by it with the filter ``tags.`ra.run` = '…'``.
    """

    def __init__(self, journal: Journal | None, run_id: str | None, uri: str):
        self.run_id = run_id
        self._journal = journal
        self._uri = uri
        self._begin = self._checked = time.monotonic()
        self._warned = False
        self._sampler = Sampler(self.log_metrics)
        if journal:
            spools.ensure_courier(journal.path.parent, uri)

    def __enter__(self) -> Run:
        if self._journal:
            self._sampler.start()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if not self._journal:
            return
        self._sampler.stop()
        status = _status(error)
        if status == "FAILED":
            message = str(error).strip().splitlines() or [""]
            self.set_tags({"error": f"{kind.__name__}: {message[0]}"[:500]})
        self.log_metrics({"wall_s": time.monotonic() - self._begin})
        self._journal.write("end", status=status)
        self._journal.close()
        journal, self._journal = self._journal, None
        place = "local" if database_of(self._uri) else "remote"
        wait = WAIT_S["killed" if status == "KILLED" else place]
        reason = spools.wait([journal.path], self._uri, wait)
        if reason:
            self._warn(journal.path.parent, reason)

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
        """Record a file by its path: it is copied when delivered, so it must stay that long."""
        if self._journal:
            self._journal.write("artifact", path=str(Path(path).absolute()), folder=folder)

    def log_dataset(self, name: str, digest: str, source: str, use: str, **profile: Any) -> None:
        """Record which data the run read.

        Args:
            digest: of the manifest and sizes; the first 36 characters are shown.
            source: folder of the images.
            use: "training" or "validation".
            profile: numbers of images, classes and so on.
        """
        if self._journal:
            self._journal.write(
                "dataset", name=name, digest=digest, source=source, use=use, profile=profile
            )

    def log_model(self, name: str, files: list[Path], description: str, tags: Mapping) -> None:
        """Put P (and T) into the model registry as a new version of ``name``."""
        if self._journal:
            paths = [str(Path(path).absolute()) for path in files]
            self._journal.write(
                "model", name=name, files=paths, description=description, tags=_texts(tags)
            )

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        if self._journal:
            self._journal.write("tags", tags=_texts(tags))

    def _check(self) -> None:
        """See to it that a courier is at work; say once if it has trouble."""
        self._checked = time.monotonic()
        spool = self._journal.path.parent
        spools.ensure_courier(spool, self._uri)
        reason = spools.trouble(spool, self._uri)
        if reason:
            self._warn(spool, reason)

    def _warn(self, spool: Path, reason: str) -> None:
        if not self._warned:
            _log.warning(
                "tracking: %s takes no records now (%s); they are kept in %s and delivered later",
                strip_credentials(self._uri),
                reason,
                spool,
            )
        self._warned = True


def deliver(spool: Path | str, uri: str | None = None, timeout_s: float = 60.0) -> int:
    """Deliver the journals of ended runs in ``spool``; returns how many are left.

    Args:
        uri: the store; by default each journal's own, with the credentials of
            $MLFLOW_TRACKING_URI if that is the one.
        timeout_s: the longest wait, in seconds; a store that answers with an error ends it sooner.
    """
    spool = Path(spool).absolute()
    given = absolute(uri or os.environ.get("MLFLOW_TRACKING_URI") or "")
    ended: dict[str, list[Path]] = {}
    for path, start in spools.journals(spool):
        if not spools.is_live(path):
            ended.setdefault(start["store"], []).append(path)
    for store, paths in ended.items():
        same = strip_credentials(given) == store
        if same or not uri:
            reason = spools.wait(paths, given if same else store, timeout_s)
            if reason:
                _log.warning("tracking: %s takes no records now (%s)", store, reason)
    return sum(path.exists() for paths in ended.values() for path in paths)


def download_model(uri: str) -> Path:
    """The folder with processor.safetensors of a model in MLflow's registry or of a run.

    Args:
        uri: ``models:/NAME/VERSION``, or ``runs:/ID/model``; of the store at
            $MLFLOW_TRACKING_URI, by default results/mlflow.db.
    """
    from ra.tracking.models import download

    store = absolute(os.environ.get("MLFLOW_TRACKING_URI") or default_uri("results"))
    database = database_of(store)
    if database and not database.exists():
        raise UserError(f"{database}: no such store; set MLFLOW_TRACKING_URI to that of {uri}")
    try:
        folder = download(uri, store)
        return next(folder.rglob("processor.safetensors")).parent
    except Exception as error:  # whatever store and network make it raise
        reason = (str(error).strip().splitlines() or ["no processor.safetensors in it"])[0]
        raise UserError(
            f"{uri}: not to be had from {strip_credentials(store)} ({reason})"
        ) from None


def _status(error: BaseException | None) -> str:
    """MLflow's status of a run that ends with ``error``."""
    if error is None or isinstance(error, SystemExit) and not error.code:
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED"


def _automatic_tags(kind: str) -> dict[str, str]:
    tags = {"ra.kind": kind, "ra.host": socket.gethostname(), "mlflow.source.name": f"ra {kind}"}
    tags["mlflow.source.type"] = "LOCAL"
    if "RA_DAG_ID" in os.environ:
        tags["ra.dag"] = os.environ["RA_DAG_ID"]
    with contextlib.suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    for folder in (Path.cwd(), Path(__file__).parent):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            tags["mlflow.source.git.commit"] = subprocess.run(
                ["git", "-C", folder, "rev-parse", "--verify", "HEAD"],
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            ).stdout.strip()
            break
    return tags


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): strip_credentials(str(value)) for key, value in tags.items()}
