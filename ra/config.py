"""The experiment's configuration: checked once against the schema, then typed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from ra.errors import UserError, unknown
from ra.files import read_yaml
from ra.models.names import check_files, is_own, short_name


@dataclass(frozen=True)
class Network:
    """Architecture and size of P or T; None is the architecture's own default."""

    arch: str
    channels: int | None
    blocks: int | None


@dataclass(frozen=True)
class Config:
    """A valid configuration; the keys are explained in workflow/schemas/config.schema.yaml."""

    data: str
    dataset: str
    results: Path
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    images: dict[str, Any]
    tasks: dict[str, dict[str, Any]]
    train_recognizers: tuple[str, ...]
    evaluate_recognizers: tuple[str, ...]
    matrix_recognizers: tuple[str, ...]
    own_recognizers: dict[str, str]
    weights: str
    recognizer_schedules: dict[str, dict[str, Any]]
    processor: Network
    transformer: Network
    processor_schedule: dict[str, Any]
    objectives: dict[str, tuple[float, ...]]
    runtime: dict[str, Any]
    tracking: dict[str, Any]
    paper: bool
    analysis: dict[str, Any]

    @property
    def recognizers(self) -> tuple[str, ...]:
        """Every R of the experiment, once."""
        return tuple(dict.fromkeys(self.train_recognizers + self.evaluate_recognizers))


def check_file(path: str) -> None:
    """One line that names ``path`` where it is no YAML mapping; a missing one is not looked at."""
    try:
        content = read_yaml(Path(path))
    except FileNotFoundError:
        return
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a mapping of keys to values; the schema has every key")


def load_config(given: Mapping[str, Any], schema_path: Path) -> Config:
    """Fill in the schema's defaults and check ``given``.

    Raises:
        UserError: one line that names the key, what is wrong and what is allowed.
    """
    schema = yaml.safe_load(schema_path.read_text(encoding="utf-8"))
    # At the top, text is text: a folder may be called 2024.
    filled = {key: part if isinstance(part, str) else _scalars(part) for key, part in given.items()}
    _fill(filled, schema, schema["$defs"])
    _check_finite(filled)
    error = best_match(Draft202012Validator(schema).iter_errors(filled))
    if error:
        raise _one_line(error)
    _check_names(filled)
    return _typed(filled)


def _scalars(value: Any) -> Any:
    """A copy in which text that means a number, a truth value or nothing is that.

    Inside lists and mappings snakemake's --config hands every scalar over as text, and YAML 1.1
    takes 1e-3 for text as well.
    """
    if isinstance(value, Mapping):
        return {key: _scalars(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_scalars(part) for part in value]
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    meant = yaml.safe_load(value) if re.fullmatch(r"[\w.+-]*", value) else value
    return meant if meant is None or isinstance(meant, bool | int | float) else value


def _check_finite(value: Any, key: str = "") -> None:
    """No comparison of a schema refuses NaN, and none without a maximum infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"config key {key}: {value} is no finite number")
    for name, part in value.items() if isinstance(value, Mapping) else ():
        _check_finite(part, f"{key}.{name}".strip("."))
    for number, part in enumerate(value) if isinstance(value, list) else ():
        _check_finite(part, f"{key}.{number}")


def _fill(config: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> None:
    """Write the schema's defaults into ``config`` where a key is missing."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if not isinstance(config, dict):
        return
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            config.setdefault(key, deepcopy(part["default"]))
        _fill(config.get(key), part, definitions)


def _one_line(error: ValidationError) -> UserError:
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        extra = sorted(set(error.instance) - set(error.schema.get("properties", {})))[0]
        where = f"config key {key}." if key else "config key "
        return UserError(where + str(unknown("key", str(extra), error.schema["properties"])))
    if error.validator == "required":
        return UserError(f"config{f' key {key}' if key else ''}: {error.message}")
    wanted = error.schema.get("description", "")
    hint = f" ({wanted})" if wanted else ""
    return UserError(f"config key {key}: {error.message}{hint}".replace("\n", " "))


def _check_names(config: dict[str, Any]) -> None:
    """What a schema cannot know: the registries' names and how values fit together."""
    # Imported here: they bring torch, which the schema's own errors need not wait for.
    from ra.data.degradations import build_task
    from ra.models.processors import PROCESSORS
    from ra.training.objectives import canonical_mode

    for name, settings in config["tasks"].items():
        scale = build_task(name, **(settings or {})).scale
        if config["images"]["crop"] % scale:
            raise UserError(
                f"config key images.crop: {config['images']['crop']} px is not divisible by "
                f"tasks.{name}.factor {scale}; choose a multiple"
            )
    resize, crop = config["images"]["resize"], config["images"]["crop"]
    if resize is not None and resize < crop:
        raise UserError(f"config key images.resize: {resize} px is below images.crop of {crop} px")
    for name, lambdas in config["objectives"].items():
        for weight in _as_list(lambdas):
            canonical_mode(name, weight)
        if name == "plain" and _as_list(lambdas) != [0]:
            raise UserError("config key objectives.plain: lambda must be 0; use ra for others")
    for key in ("processor", "transformer"):
        PROCESSORS.get(config[key]["arch"])
    _check_analysis(config)


def _check_analysis(config: dict[str, Any]) -> None:
    """Names in the analyses are known; tasks that the experiment lacks are left out there."""
    from ra.data.degradations import TASKS
    from ra.models.processors import PROCESSORS
    from ra.training.objectives import canonical_mode

    analysis = config["analysis"]
    for name, settings in analysis.items():
        for task in settings.get("tasks") or ():
            if task not in TASKS:
                raise UserError(f"config key analysis.{name}.tasks: {unknown('task', task, TASKS)}")
    recognizers = {
        short_name(r) for part in ("train", "evaluate") for r in config["recognizers"][part]
    }
    half_r = analysis["categories"]["recognizer"]
    chosen = {
        "categories.recognizer": [half_r] if half_r else [],
        "extras.ensemble": analysis["extras"]["ensemble"] or [],
        "black_box.recognizer": filter(None, [analysis["black_box"]["recognizer"]]),
    }
    for key, names in chosen.items():
        for name in names:
            if name not in recognizers:
                raise UserError(
                    f"config key analysis.{key}: {unknown('recognizer', name, recognizers)}"
                )
    box = analysis["black_box"]
    if box["url"] and (box["command"] or not box["label_path"]):
        raise UserError("config key analysis.black_box.url: needs label_path, and no command")
    for name, lambdas in analysis["lambdas"]["objectives"].items():
        for weight in _as_list(lambdas):
            canonical_mode(name, weight)
    for network in analysis["extras"]["processors"].values():
        PROCESSORS.get(network["arch"])


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _typed(config: dict[str, Any]) -> Config:
    recognizers = config["recognizers"]
    named = check_files(recognizers["train"] + recognizers["evaluate"])
    own = {name: recognizer for name, recognizer in named.items() if is_own(recognizer)}
    train, evaluate = (tuple(map(short_name, recognizers[key])) for key in ("train", "evaluate"))
    matrix = tuple(map(short_name, recognizers["matrix"] or recognizers["evaluate"]))
    for name in set(matrix) - set(evaluate):
        raise UserError(
            f"config key recognizers.matrix: {name} is not in recognizers.evaluate; each training "
            "R of the matrix also judges"
        )
    names = dict.fromkeys(train + evaluate)
    for name in recognizers["overrides"].keys() - names.keys():
        raise UserError(f"config key recognizers.overrides.{unknown('recognizer', name, names)}")
    data = config["data"]
    folder = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(data).resolve().name).strip("-.") or "data"
    networks = {
        key: Network(*(config[key][part] for part in ("arch", "channels", "blocks")))
        for key in ("processor", "transformer")
    }
    return Config(
        data=data,
        dataset=config["dataset"] or folder,
        results=Path(config["results"]),
        targets=tuple(config["targets"]),
        seeds=tuple(config["seeds"]),
        images=config["images"],
        tasks={name: settings or {} for name, settings in config["tasks"].items()},
        train_recognizers=train,
        evaluate_recognizers=evaluate,
        matrix_recognizers=matrix,
        own_recognizers=own,
        weights=recognizers["weights"],
        recognizer_schedules={
            name: {**recognizers["schedule"], **recognizers["overrides"].get(name, {})}
            for name in names
        },
        processor_schedule=config["processor"]["schedule"],
        objectives={k: tuple(_as_list(v)) for k, v in config["objectives"].items()},
        runtime=config["runtime"],
        tracking=config["tracking"],
        paper=config["paper"],
        analysis=config["analysis"],
        **networks,
    )
