"""Names that people read: of tasks, processors, recognizers and measures.

An unknown name stands for itself. Registries are imported in the functions, because they bring
torch with them.
"""

import csv
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import pandas as pd

CLEAN, NO_PROCESSING, PLAIN, RA = "clean", "no_processing", "plain", "ra"
NO_TASK = "none"  # of undegraded images
UNTRAINED = {CLEAN: "Clean Images", NO_PROCESSING: "No Processing"}


def task_title(name: str) -> str:
    """``Super-resolution`` for ``sr``."""
    from ra.data.degradations import TASKS

    return TASKS.title(name)


def p_model_title(name: str) -> str:
    """``RA Processing`` for ``ra``, ``Published: NAME`` for ``published:NAME``."""
    from ra.training.objectives import OBJECTIVES

    objective, _, file = name.partition(":")
    title = UNTRAINED.get(name) or OBJECTIVES.title(objective)
    return f"{title}: {file}" if file else title


def p_model_order(name: str) -> tuple[int, str]:
    """Sorts processors: clean, no processing, then objectives as registered, then unknown names."""
    from ra.training.objectives import OBJECTIVES

    known = [*UNTRAINED, *OBJECTIVES]
    objective = name.partition(":")[0]
    return (known.index(objective) if objective in known else len(known), name)


def aware(p_models: Iterable[str]) -> str:
    """The recognition-aware objective to show beside plain: ``ra`` where it is one of them."""
    others = sorted(set(p_models) - {*UNTRAINED, PLAIN}, key=p_model_order)
    return others[0] if others else RA


HEADLINES = {"top1": "top-1", "agreement": "agreement", "map50": "mAP@0.5", "miou": "mIoU"}


def measured(metrics: Iterable[str]) -> str:
    """What a table of these metrics shows: ``top-1``; ``top-1, mAP@0.5``, of several kinds."""
    return ", ".join(title for name, title in HEADLINES.items() if name in set(metrics))


def recognizer_title(name: str) -> str:
    """torchvision's names as in papers; several, joined with +, are an ensemble.

    The paper's VGG-16 is ``vgg16_bn``; ``vgg16`` is named as the one without batch norm.

    >>> recognizer_title("shufflenet_v2_x0_5"), recognizer_title("my_net")
    ('ShuffleNetV2-x0.5', 'my_net')
    """
    return " + ".join(_recognizer_titles().get(one, one) for one in name.split("+"))


@cache
def _recognizer_titles() -> dict[str, str]:
    with files("ra.reporting").joinpath("recognizer_titles.csv").open(encoding="utf-8") as table:
        return dict(csv.reader(table))


def measure_title(name: str) -> str:
    """``PSNR (dB)`` for ``psnr``."""
    from ra.evaluation.quality import MEASURES

    return MEASURES.title(name)


def model_names(rows: pd.DataFrame, apart: tuple[str, ...] = ("lambda", "training_r")) -> pd.Series:
    """Titles of processors; lambda and training recognizer are added where a task has several.

    Args:
        rows: with columns task, p_model, lambda, training_r.
        apart: which of the two to add.
    """
    added = {"lambda": ", lambda {:g}".format, "training_r": ", R {}".format}
    titles = rows.p_model.map(p_model_title)
    for column in apart:
        values = rows[column].map(recognizer_title) if column == "training_r" else rows[column]
        several = rows.groupby(["task", "p_model"])[column].transform("nunique") > 1
        titles = titles.where(~several, titles + values.map(added[column]))
    return titles
