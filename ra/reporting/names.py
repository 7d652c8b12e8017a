"""Names that people read: of tasks, processors, recognizers and measures.

An unknown name stands for itself. Registries are imported in the functions, because they bring
torch with them.
"""

from __future__ import annotations

import re

import pandas as pd

NO_PROCESSING, PLAIN, RA = "no_processing", "plain", "ra"

FAMILIES = (
    "AlexNet,ConvNeXt,DenseNet,EfficientNet,GoogLeNet,Inception,MaxViT,MNASNet,MobileNet,RegNet,"
    "ResNet,ResNeXt,ShuffleNet,SqueezeNet,Swin,VGG,ViT,Wide ResNet"
).split(",")
FAMILY = {title.lower().replace(" ", "_"): title for title in FAMILIES}
SIZES = r"tiny|small|base|large|[a-z]\d?|\d+|x\d\.\d|\d+x\d+d|[\d.]+[mg]f"
RECOGNIZER = re.compile(
    rf"({'|'.join(FAMILY)})(\d+(?:\.\d+)?)?(?:_(v\d))?((?:_(?:{SIZES}))*?)(_bn)?"
)


def task_title(name: str) -> str:
    """``Super-resolution`` for ``sr``."""
    from ra.data.degradations import TASKS

    return TASKS.title(name)


def p_model_title(name: str) -> str:
    """``RA Processing`` for ``ra``."""
    from ra.training.objectives import OBJECTIVES

    return "No Processing" if name == NO_PROCESSING else OBJECTIVES.title(name)


def p_model_order(name: str) -> tuple[int, str]:
    """Sorts processors: no processing, then objectives as registered, then unknown names."""
    from ra.training.objectives import OBJECTIVES

    known = [NO_PROCESSING, *OBJECTIVES]
    return (known.index(name) if name in known else len(known), name)


def recognizer_title(name: str) -> str:
    """torchvision's names as in papers; several, joined with +, are an ensemble.

    The paper's VGG-16 is ``vgg16_bn``; ``vgg16`` is named as the one without batch norm. The usual
    width x1.0 is left out.

    >>> recognizer_title("shufflenet_v2_x0_5"), recognizer_title("densenet121")
    ('ShuffleNetV2-x0.5', 'DenseNet-121')
    >>> recognizer_title("my_net")
    'my_net'
    """
    if "+" in name:
        return " + ".join(map(recognizer_title, name.split("+")))
    found = RECOGNIZER.fullmatch(re.sub(r"(?<!\d)(\d)_(\d{1,2})(?=$|[mg]f$)", r"\1.\2", name))
    if not found:
        return name
    family, depth, version, sizes, batch_norm = found.groups(default="")
    words = [depth, *sizes.removesuffix("_x1.0").split("_")]
    words = [w.upper() if len(w) < 3 else w.capitalize() if w.isalpha() else w for w in words if w]
    title = "-".join([FAMILY[family] + version.upper(), *words])
    return f"{title} without BN" if family == "vgg" and not batch_norm else title


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
