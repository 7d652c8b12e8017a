"""The experiment's configuration: checked once, with the names it uses, and typed."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace as Config
from typing import Any

import yaml

from ra.data.folders import check_same_classes, classes_by_split
from ra.errors import UserError, unknown
from ra.experiment import Experiment, Weights
from ra.files import read_yaml
from ra.models.names import check_files, is_own, members_of, short_name
from ra.registry import load_plugins
from ra.settings.base import checked
from ra.settings.shared import SCRATCH, Schedule

KEY = "config key "


def check_file(path: Path | str) -> dict[str, Any]:
    """The content of ``path``; none of a missing one.

    Raises:
        UserError: no YAML mapping; one line that names ``path``.
    """
    try:
        content = read_yaml(Path(path))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a mapping of keys to values; docs/config.md has every key")
    return content


def load_config(given: Mapping[str, Any]) -> Config:
    """Check ``given`` and fill in the defaults.

    Returns:
        The keys of ``Experiment`` as plain values, and in their place or beside them what follows
        from them: ``_filled`` has the list.

    Raises:
        UserError: one line that names the key, what is wrong and what is allowed.
    """
    # At the top, text is text: a folder may be called 2024.
    filled = {key: part if isinstance(part, str) else _scalars(part) for key, part in given.items()}
    experiment = checked(Experiment, filled, KEY)
    load_plugins(experiment.plugins)
    return _filled(experiment)


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
    meant = yaml.safe_load(value) if re.fullmatch(r"[\w.+-]+", value) else value
    return meant if meant is None or isinstance(meant, bool | int | float) else value


def _filled(e: Experiment) -> Config:
    from ra.data.degradations import build_task, inputs_of

    tasks = _tasks(e)
    objectives, objective_settings = _objectives(e, tasks)
    members = [name for one in e.recognizers.train for name in members_of(one)]
    used = check_files([*members, *e.recognizers.evaluate])
    train = tuple("+".join(map(short_name, members_of(one))) for one in e.recognizers.train)
    evaluate = tuple(map(short_name, e.recognizers.evaluate))
    matrix = tuple(map(short_name, e.recognizers.matrix or e.recognizers.evaluate))
    for one in set(matrix) - set(evaluate):
        raise UserError(
            f"{KEY}recognizers.matrix: {one} is not in recognizers.evaluate; each training "
            "recognizer of the matrix also evaluates"
        )
    processor, first_weights = _start(e)
    if first_weights:
        objectives = {"published": dict.fromkeys(tasks, (0.0,)), **objectives}  # a row of its own
        objective_settings = {"published": {}, **objective_settings}
    elif "published" in objectives:
        raise UserError(f"{KEY}objectives.published: needs processor.arch: spandrel:FILE")
    data = str(Path(e.data).expanduser()) if e.data.startswith("~") else e.data
    folder = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(data).resolve().name).strip("-.") or "data"
    config = Config(**e.model_dump(by_alias=True))
    config.data, config.dataset, config.results = data, e.dataset or folder, e.results.expanduser()
    config.tasks = tasks
    found = (inputs_of(build_task(task, **own)) for task, own in tasks.items())
    config.inputs = next(filter(None, found), None)  # the folder from which a task reads inputs
    config.objectives, config.objective_settings = objectives, objective_settings
    config.train_recognizers, config.evaluate_recognizers = train, evaluate
    config.matrix_recognizers = matrix
    config.recognizers = tuple(
        dict.fromkeys([*map(short_name, members), *evaluate])
    )  # every one, once
    config.own_recognizers = {name: one for name, one in used.items() if is_own(one)}
    config.recognizer_schedules = _schedules(e, config.recognizers)
    config.weights = e.recognizers.weights
    config.processor_schedule = config.processor["schedule"]
    config.processor, config.first_weights = processor, first_weights
    config.transformer = _network(e.transformer, "transformer")
    config.metrics, config.measure_settings = tuple(e.metrics), _measures(e)
    _check_data(config)
    _check_analysis(config, e)
    return config


def _check_data(config: Config) -> None:
    """A folder of images has the labels that objectives and recognizers in training need."""
    from ra.training.objectives import check_labels

    root, place = Path(config.data), f"{KEY}data: {config.data}"
    if not root.is_dir() or config.images["train_sets"]:
        return
    classes = classes_by_split(root) if config.images["labels"] else {}
    for objective in config.objectives:
        check_labels(objective, [*set().union(*classes.values())], place)
    if config.weights == SCRATCH and set(config.recognizers) - set(config.own_recognizers):
        check_same_classes(place, **classes)


def _tasks(e: Experiment) -> dict[str, dict[str, Any]]:
    """All settings of every task, which fit the sizes of the images."""
    # brings torch, which the errors above need not wait for
    from ra.data.degradations import PAPER_TASKS, TASKS, inputs_of

    tasks = {}
    for task, given in (dict.fromkeys(PAPER_TASKS) if e.tasks is None else e.tasks).items():
        tasks[task] = TASKS.check(task, given or {}, f"{KEY}tasks.{task}.")
        built = TASKS.get(task)(**tasks[task])
        scale = built.scale
        if inputs_of(built) == "":
            raise UserError(f"{KEY}tasks.{task}.input: missing; targets alone train nothing")
        if e.images.crop % scale:
            raise UserError(
                f"{KEY}images.crop: {e.images.crop} px is not divisible by the scale of task "
                f"{task}, {scale}; choose a multiple"
            )
    if e.images.resize is not None and e.images.resize < e.images.crop:
        raise UserError(
            f"{KEY}images.resize: {e.images.resize} px is below images.crop of {e.images.crop} px"
        )
    return tasks


def _objectives(e: Experiment, tasks: Mapping[str, Any]) -> tuple[dict, dict]:
    """(lambdas of every task, settings of its own) of every objective."""
    from ra.data.degradations import TASKS
    from ra.training.objectives import OBJECTIVES

    lambdas, settings = {}, {}
    for objective, given in e.objectives.items():
        key, kind = f"{KEY}objectives.{objective}", OBJECTIVES.get(objective)
        own = dict(given) if isinstance(given, dict) else {"lambda": given}
        weights = checked(Weights, {"lambda": own.pop("lambda", {})}, f"{key}.").weights
        settings[objective] = OBJECTIVES.check(objective, own, f"{key}.")
        weights = weights if isinstance(weights, dict) else dict.fromkeys(tasks, weights)
        for task in set(weights) - set(TASKS):
            raise UserError(f"{key}.lambda: {unknown('task', task, TASKS)}")
        chosen = {task: weights.get(task, (kind.default_weight,)) for task in tasks}
        if not kind.needs_recognizer and any(map(any, chosen.values())):
            raise UserError(f"{key}: lambda must be 0; use ra for others")
        lambdas[objective] = chosen
    return lambdas, settings


def _measures(e: Experiment) -> dict[str, Any]:
    """The settings of the measures; each has a name of its own."""
    from ra.evaluation.quality import MEASURES

    settings: dict[str, Any] = {}
    for measure in e.metrics:
        given = e.metrics[measure] if isinstance(e.metrics, dict) else {}
        own = MEASURES.check(measure, given, f"{KEY}metrics.{measure}.")
        for key in own.keys() & settings.keys():
            if own[key] != settings[key]:
                raise UserError(
                    f"{KEY}metrics.{measure}.{key}: another measure has it, and differs"
                )
        settings |= own
    return settings


def _schedules(e: Experiment, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The schedule of each recognizer, with its overrides; those of others wait for their use."""
    for one, given in e.recognizers.overrides.items():
        checked(Schedule, given, f"{KEY}recognizers.overrides.{one}.")
    shared = e.recognizers.schedule.model_dump()
    return {one: {**shared, **e.recognizers.overrides.get(one, {})} for one in names}


def _start(e: Experiment) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The processor, and the files with which its trainings begin."""
    from ra.models.restorers import is_published, published_file

    files = (str(e.processor.init),) if e.processor.init else ()
    init = {"init": files[0]} if files else {}
    if not is_published(e.processor.arch):
        return {**_network(e.processor, "processor"), **init}, files
    file = published_file(e.processor.arch, e.processor.model_extra, f"{KEY}processor.arch: ")
    return {"arch": e.processor.arch, **init}, (str(file), *files)


def _network(network, key: str) -> dict[str, Any]:
    """``arch`` and all settings of that architecture."""
    from ra.models.processors import PROCESSORS

    settings = PROCESSORS.check(network.arch, network.model_extra, f"{KEY}{key}.")
    return {"arch": network.arch, **settings}


def _check_analysis(config: Config, e: Experiment) -> None:
    """Names in the analyses are known; tasks that the experiment lacks are left out there."""
    from ra.data.degradations import TASKS
    from ra.training.objectives import canonical_mode

    for part in type(e.analysis).model_fields:
        for task in getattr(e.analysis, part).tasks or ():
            if task not in TASKS:
                raise UserError(f"{KEY}analysis.{part}.tasks: {unknown('task', task, TASKS)}")
    chosen = {
        "categories.recognizer": [e.analysis.categories.recognizer],
        "corruptions.relative_to": [e.analysis.corruptions.relative_to],
        "extras.ensemble": e.analysis.extras.ensemble or [],
        "black_box.recognizer": [e.analysis.black_box.recognizer],
    }
    for key, names in chosen.items():
        for one in filter(None, names):
            if one not in config.recognizers:
                known = unknown("recognizer", one, config.recognizers)
                raise UserError(f"{KEY}analysis.{key}: {known}")
    checked(Schedule, e.analysis.categories.schedule, f"{KEY}analysis.categories.schedule.")
    box = e.analysis.black_box
    if box.url and (box.command or not box.label_path):
        raise UserError(f"{KEY}analysis.black_box.url: needs label_path, and no command")
    rows = [(o, [value]) for o, value in e.analysis.extras.objectives.items()]
    for objective, lambdas in [*e.analysis.lambdas.objectives.items(), *rows]:
        for weight in lambdas:
            canonical_mode(objective, weight)
    for task, network in e.analysis.extras.processors.items():
        config.analysis["extras"]["processors"][task] = _network(
            network, f"analysis.extras.processors.{task}"
        )
