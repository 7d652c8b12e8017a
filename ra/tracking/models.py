"""What MLflow shows of data and models: datasets by digest, processors in the model registry.

A registered processor is files and the name of a loader, ``ra.inference.process``: nothing is
pickled.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException

# What ``ra.inference.process`` imports; the package itself travels with the model.
REQUIREMENTS = "filelock numpy pillow pyyaml safetensors torch torchvision tqdm".split()
EXAMPLE_SIDE = 8  # pixels


def log_dataset(client, run: str, event: Mapping[str, Any]) -> None:
    """Record which data a run used: name, digest, images per split, classes."""
    source = json.dumps({"folder": event["source"], "digest": event["digest"]})
    dataset = Dataset(
        name=event["name"],
        digest=(event["digest"] or "unknown")[:36],  # MLflow's column is that wide
        source_type="local",
        source=source,
        profile=json.dumps(event["profile"]),
    )
    client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", event["use"])])])


def register(client, run: str, event: Mapping[str, Any]) -> None:
    """Store a processor (and its transformer) as a pyfunc model of the run and register it, once.

    An event with an alias gives it to that version, which may be of an earlier run.

    Signature: uint8 images (N, h, w, 3) -> uint8 (N, h * scale, w * scale, 3).
    """
    files = [Path(path) for path in event["files"]]
    alias = event.get("alias")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    try:
        client.create_registered_model(event["name"], description=event["description"])
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for known in client.search_model_versions(f"name = '{event['name']}'"):
        if (alias or known.run_id == run) and known.tags.get("ra.digest") == digest:
            break  # a delivery that is repeated, or the best is that of before
    else:
        place = alias or "model"  # a run may have the best of several tasks
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model"
            _save(model, files)
            client.log_artifacts(run, str(model), place)
        tags = {**event["tags"], "ra.digest": digest}
        source = f"runs:/{run}/{place}"
        about = ", ".join(f"{key} {text}" for key, text in event["tags"].items())
        known = client.create_model_version(
            event["name"], source, run, tags=tags, description=about
        )
    if alias:
        client.set_registered_model_alias(event["name"], alias, known.version)


def _save(model: Path, files: list[Path]) -> None:
    import mlflow.pyfunc  # another second
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))])
    networks = model.parent / "networks"
    networks.mkdir()
    for path in files:
        shutil.copyfile(path, networks / path.name)
    compiled = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(Path(__file__).parents[1], model.parent / "ra", ignore=compiled)
    mlflow.pyfunc.save_model(
        model,
        loader_module="ra.inference.process",
        data_path=str(networks),
        code_paths=[str(package)],
        signature=ModelSignature(inputs=images, outputs=images),
        input_example=np.zeros((1, EXAMPLE_SIDE, EXAMPLE_SIDE, 3), np.uint8),
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
    )
