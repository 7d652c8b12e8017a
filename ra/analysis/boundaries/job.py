"""``ra boundaries``: survey the decision boundaries around processed images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from ra.analysis.boundaries.planes import write_planes
from ra.analysis.boundaries.survey import similarities, survey_recognizers
from ra.analysis.outputs import draw_images, outputs, shared_task
from ra.data.splits import open_split
from ra.errors import UserError
from ra.files import write_csv
from ra.models.fixed import named_recognizers
from ra.progress import Progress
from ra.runtime.devices import placed, use_device
from ra.settings.analysis import BoundarySurvey
from ra.settings.shared import Machine, Source


def run_boundaries(
    source: Source,
    plain: Path,
    aware: Path,
    recognizers: Sequence[str],
    survey: BoundarySurvey,
    machine: Machine,
    save_dir: Path,
) -> None:
    """Write pairs.csv (similarity of every pair of recognizers) and planes.png into ``save_dir``.

    Args:
        plain, aware: processor.safetensors of the plain and the recognition-aware processor; the
            training recognizer of the latter is one of ``recognizers``.
        recognizers: recognizer.safetensors or a user's YAML files, or names of pretrained ones.
    """
    (header, _), task = shared_task([aware, plain], also=["dataset"])
    split = open_split(**dict(source), split="val")
    known = named_recognizers(recognizers, split.info)
    training_r = header["recognizer"]
    if training_r not in known:
        raise UserError(f"--recognizers: {training_r}, with which {aware} was trained, is not")
    if len(known) < 2:
        raise UserError("--recognizers: one has nothing to be compared with; give two")
    with use_device(machine) as where:
        for recognizer in known.values():
            placed(recognizer, where)
        chosen = draw_images(len(split), survey.images, survey.seed)
        parts = list(outputs(split, task, [plain, aware], chosen, where))
        start, end = (torch.cat([made[k] for _, made in parts]).clone() for k in range(2))
        label = torch.cat([batch.label for batch, _ in parts]).clone()
        bar = partial(Progress, name="boundaries", unit="R")
        found = survey_recognizers(known, training_r, start, end, label, survey, survey.planes, bar)
    keys = {"dataset": header["dataset"], "task": header["task"], "p_model": header["objective"]}
    keys |= {"lambda": header["lambda"], "training_r": training_r, "seed": header["seed"]}
    table = similarities(found, survey.seed).assign(**keys)
    write_csv(save_dir / "pairs.csv", table[[*keys, *table.columns.drop(list(keys))]])
    moved = (end - start).square().mean(dim=(1, 2, 3)).sqrt().cpu()
    shown = (start.cpu(), moved, label.tolist(), split.info.classes)
    write_planes(save_dir / "planes.png", found, *shown, survey)
