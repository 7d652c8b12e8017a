"""The model card of a processor: README.md beside its weights, in the form that model hubs show."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from ra.data.dataset import DatasetInfo
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import measure_title, p_model_title, recognizer_title, task_title
from ra.reporting.tables import with_interval

PHOTOGRAPHS = (
    "photographs of scikit-image and scikit-learn: CC0 1.0, CC BY 2.0 (china by danielbuechele, "
    "flower by vultilion), public domain or no known copyright restrictions"
)
LICENCES = {
    "embedded": PHOTOGRAPHS,
    "embedded-tune": PHOTOGRAPHS,
    "imagenette": "images of ImageNet: non-commercial research, under ImageNet's terms of access",
    "imagenet": "non-commercial research, under ImageNet's terms of access",
}
SCHEDULE = ("epochs", "batch_size", "optimizer", "lr", "lr_schedule")


def model_card(header: Mapping[str, Any], tidy: pd.DataFrame, info: DatasetInfo) -> str:
    """Markdown with YAML front matter.

    Args:
        header: of the processor's file.
        tidy: the rows of its evaluation.csv.
        info: the data that it was evaluated on.
    """
    task, data = task_title(header["task"]), header.get("dataset", info.name)
    title = f"{p_model_title(header['objective'])}, {task}, {data}"
    licence = LICENCES.get(data, "ask whoever gave you the images; ra does not know it")
    names = [_title(row) for row in tidy.itertuples()]
    measured = {
        "task": {"type": "image-to-image", "name": task},
        "dataset": {"name": info.name, "type": info.name, "split": "validation"},
        "metrics": [
            {"type": row.metric, "name": name, "value": round(float(row.value), 4)}
            for name, row in zip(names, tidy.itertuples(), strict=True)
        ],
    }
    front = {
        "library_name": "ra",
        "pipeline_tag": "image-to-image",
        "tags": ["recognition-aware", header["task"], header["objective"]],
        "datasets": [data],
        "license": "other",
        "license_name": "that-of-the-data",
        "model-index": [{"name": title, "results": [measured]}],
    }
    numbers = zip(tidy.value, tidy.low, tidy.high, strict=True)
    found = [with_interval(*row, ".3f") for row in numbers]
    table = pd.DataFrame({"": names, "value [95 %]": found, "images": tidy.n})
    rows = table.to_markdown(index=False)
    training = pd.DataFrame(_training(header).items(), columns=["setting", "value"]).astype(str)
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---

# {title}

A processor of [recognition-aware image processing](https://arxiv.org/abs/1910.09185): images in,
restored images out, which recognizers are to classify better.

## Use

This folder is all that is needed:

```
ra process --model FOLDER photo.jpg restored.png
ra export FOLDER processor.onnx
```

## Training

{_origin(header, data, info)}

{training.to_markdown(index=False, disable_numparse=True)}

## Evaluation

On the validation images of `{info.name}`; accuracies in percent, intervals of 95 %.

{rows}

## Licence

The data, `{data}`: {licence}. Whether it extends to the weights, the makers of the data say.
"""


def _title(row: Any) -> str:
    if row.evaluation_r == NO_RECOGNIZER:
        return measure_title(row.metric)
    return f"{recognizer_title(row.evaluation_r)}: {row.metric}"


def _origin(header: Mapping[str, Any], data: str, info: DatasetInfo) -> str:
    """What the weights come from, in a sentence or two."""
    if "imported" in header:
        return f"Imported from the released file `{header['imported']}`."
    file = header.get("init", {}).get("file")
    if header["objective"].startswith("published:"):
        return f"The weights of the published file `{file}`, as they are; its licence holds."
    same = info.digest and header.get("settings", {}).get("data_digest") == info.digest
    count = f": {info.images['train']} images, crops of {info.crop} px" if same else ""
    begin = f" It began with the weights of `{file}`, whose licence holds too." if file else ""
    return f"Trained on `{data}`{count}.{begin}"


def _training(header: Mapping[str, Any]) -> dict[str, Any]:
    settings, begin = header.get("settings", {}), header.get("init", {})
    known = {"lambda": header["lambda"], "training recognizer": header["recognizer"]}
    known |= {key: header[key] for key in ("seed",) if key in header}
    known |= {f"task: {key}": value for key, value in header.get("task_settings", {}).items()}
    known |= {f"network: {key}": value for key, value in header["network"].items()}
    known |= {key: settings[key] for key in (*SCHEDULE, "data_digest") if settings.get(key)}
    return known | ({"init sha256": begin["sha256"]} if begin else {})
