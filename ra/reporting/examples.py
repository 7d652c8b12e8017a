"""Pictures of the report: a whole photograph, and images that recognition-aware processing wins
and loses. They are made again by the stored processors; what is right is read from images.csv.
"""

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ra.data.degradations import VALIDATION, build_task, no_processing
from ra.data.embedded import PHOTOGRAPHS
from ra.data.splits import Crops, open_split
from ra.inference.process import load, to_bytes, to_tensor
from ra.reporting import names
from ra.reporting.names import PLAIN
from ra.reporting.plots import to_image
from ra.reporting.significance import recognizers_in

SHOWN = 3  # wins of each task, and as many losses
FLAT = 20.0  # grey levels; a picture whose channels all deviate less shows nothing
AMPLIFIED = 8  # differences of two outputs are a few grey levels
SIDE = 512  # px at most, of the photograph
NEEDED = ("prediction", "recognition_loss")  # which classifiers have


class Examples:
    """Plain and recognition-aware processor of a task (of several seeds the first), and the
    validation images.

    Args:
        plain, aware: their evaluation.csv.
        identity: that of ``aware``.
        data: the prepared data set.
    """

    def __init__(self, plain: Path, aware: Path, identity: Mapping, data: Path) -> None:
        self.tables, self.identity = (plain, aware), identity
        self.split = open_split(data, "val")
        models = [load(path.with_name("processor.safetensors")) for path in (plain, aware)]
        short = [names.p_model_title(name) for name in (PLAIN, str(identity["p_model"]))]
        self.models = dict(zip([n.removesuffix(" Processing") for n in short], models, strict=True))
        stored = models[1].stored
        self.task = build_task(stored["task"], **stored.get("task_settings", {}))

    def compared(self) -> tuple[str, pd.DataFrame] | None:
        """A recognizer, and for each image index, label and, by model, its prediction and its
        confidence in the label (%).

        The recognizer is one that took no part in the training where there is one. Without labels,
        its answer to the clean image is the label.
        """
        answers = [pd.read_csv(p.with_name("images.csv")) for p in self.tables]
        known = [
            r
            for r in recognizers_in(answers[1])
            if all(f"{r}:{column}" in one for column in NEEDED for one in answers)
        ]
        if not known:
            return None
        trained = str(self.identity["training_r"]).split("+")
        r = next((r for r in known if r not in trained), known[0])
        table = answers[1][["index", "label"]].copy()
        table["label"] = answers[1].get(f"{r}:clean", table["label"])
        for name, one in zip(("before", "after"), answers, strict=True):
            table[name] = one[f"{r}:prediction"]
            table[f"{name}_right"] = one[f"{r}:{recognizers_in(one)[r]}"] == 1
            table[f"{name}_confidence"] = 100 * np.exp(-one[f"{r}:recognition_loss"])
        table["gain"] = table.after_confidence - table.before_confidence
        return r, table

    def wins_and_losses(self) -> dict[str, object] | None:
        """What the page shows of the task; None without answers of a recognizer in both files."""
        found = self.compared()
        if found is None:
            return None
        r, table = found
        won = table[~table.before_right & table.after_right].sort_values("gain", ascending=False)
        lost = table[table.before_right & ~table.after_right].sort_values("gain")
        return {
            "task": names.task_title(str(self.identity["task"])),
            "model": list(self.models)[1],
            "settings": f"lambda {self.identity['lambda']:g}, seed {self.identity['seed']}",
            "recognizer": names.recognizer_title(r),
            "met": r in str(self.identity["training_r"]).split("+"),
            "images": len(table),
            "counts": (len(won), len(lost)),
            "amplified": AMPLIFIED,
            "shown": [
                (title, [self._shown(row) for row in self._telling(rows)])
                for title, rows in (("Won", won), ("Lost", lost))
            ],
        }

    def _telling(self, rows: pd.DataFrame) -> Iterable:
        """The first of each class that is not flat, SHOWN at most."""
        found: dict[int, tuple] = {}
        for row in rows.itertuples():
            if len(found) == SHOWN:
                break
            if row.label not in found and self._spread(row.index) >= FLAT:
                found[row.label] = row
        return found.values()

    def _spread(self, index: int) -> float:
        """Largest standard deviation of a channel of the clean crop, grey levels."""
        crop = Crops(self.split, None).__getitems__([(0, VALIDATION, index)]).target[0]
        return float(crop.float().std(dim=(1, 2)).max())

    @torch.inference_mode()
    def _shown(self, row) -> dict[str, object]:
        keys = [(0, VALIDATION, row.index)]
        batch = Crops(self.split, self.task).__getitems__(keys).to(torch.device("cpu"))
        outputs = [model.network(batch.input) for model in self.models.values()]
        pictures = {"Input": no_processing(batch.input, self.task.scale)}
        pictures |= dict(zip(self.models, outputs, strict=True)) | {"Clean": batch.target}
        pictures["Difference"] = 0.5 + AMPLIFIED * (outputs[1] - outputs[0])
        called = [self._class(label) for label in (row.before, row.after)]
        right, sure = (
            (row.before_right, row.after_right),
            (row.before_confidence, row.after_confidence),
        )
        return {
            "label": self._class(row.label),
            "pictures": {name: _data_uri(image) for name, image in pictures.items()},
            "answers": dict(zip(self.models, zip(called, right, sure, strict=True), strict=True)),
        }

    def _class(self, label: int) -> str:
        classes = self.split.info.classes
        return classes[label].replace("_", " ") if classes else f"class {label}"

    @torch.inference_mode()
    def photograph(self) -> dict[str, object]:
        """The whole photograph of that clear win which has the most contrast: input, outputs and
        clean, as data URIs."""
        found = self.compared()
        won = found[1].nlargest(50, "gain")["index"] if found else [0]
        index = max(won, key=self._spread)
        clean, given, credit = self._whole(index)
        images = {"Input": no_processing(given, self.task.scale)}
        small = to_bytes(given)
        images |= {n: to_tensor(model.pixels(small)) / 255 for n, model in self.models.items()}
        images["Clean"] = to_tensor(clean) / 255
        return {
            "task": names.task_title(str(self.identity["task"])),
            "credit": credit,
            "pictures": {name: _data_uri(image) for name, image in images.items()},
            **dict(zip(("height", "width"), clean.shape, strict=False)),
        }

    def _whole(self, index: int) -> tuple[np.ndarray, Tensor, str]:
        """Clean pixels, the input that belongs to them as float (1, 3, h, w), and a credit."""
        clean, twin = self.split.pair(index)
        credit = self.split.paths[index]
        if twin is not None:
            return clean, to_tensor(twin) / 255, credit
        image = Image.fromarray(clean)
        if self.split.info.name.startswith("embedded"):  # whose images are tiles
            name = self.split.info.classes[self.split.labels[index]]
            photo = next(photo for photo in PHOTOGRAPHS if photo.name == name)
            image, credit = photo.open(), f"{name}, by {photo.author}, {photo.licence}"
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        step = max(self.task.scale, 8)  # JPEG's blocks
        width, height = (max(side // step, 1) * step for side in image.size)
        clean = np.asarray(image)[:height, :width]
        given = self.task.degrade(to_tensor(clean), [(0, VALIDATION, index)])
        return clean, given.float() / 255 if given.dtype == torch.uint8 else given, credit


def _data_uri(image: Tensor) -> str:
    """(1, 3, H, W) in [0, 1] as a PNG in a URI."""
    buffer = io.BytesIO()
    to_image(image[0]).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
