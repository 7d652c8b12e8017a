"""``ra boundaries``: survey the decision boundaries around processed images."""

from functools import partial

import torch

from ra.analysis.boundaries.planes import write_planes
from ra.analysis.boundaries.survey import similarities, survey_recognizers
from ra.analysis.command_settings import Boundaries
from ra.analysis.outputs import draw_images, outputs, shared_task
from ra.data.dataset import require_labels
from ra.data.splits import open_split
from ra.errors import UserError
from ra.files import write_csv
from ra.models.fixed import named_recognizers
from ra.progress import Progress
from ra.runtime.devices import placed, use_device


def run_boundaries(o: Boundaries) -> None:
    """Write pairs.csv (similarity of every pair of recognizers) and planes.png."""
    (header, _), task = shared_task([o.ra, o.plain], also=["dataset"])
    split = open_split(**dict(o.source), split="val")
    require_labels(split.info, "the analysis of decision boundaries")
    known = named_recognizers(o.recognizers, split.info)
    training_r = header["recognizer"]
    if training_r not in known:
        raise UserError(f"--recognizers: {training_r}, with which {o.ra} was trained, is not there")
    if len(known) < 2:
        raise UserError("--recognizers: one has nothing to be compared with; give two")
    with use_device(o.machine) as where:
        for recognizer in known.values():
            placed(recognizer, where)
        chosen = draw_images(len(split), o.images, o.seed)
        parts = list(outputs(split, task, [o.plain, o.ra], chosen, where))
        plain, aware = (torch.cat([made[k] for _, made in parts]).clone() for k in range(2))
        label = torch.cat([batch.label for batch, _ in parts]).clone()
        bar = partial(Progress, name="boundaries", unit="R")
        found = survey_recognizers(known, training_r, plain, aware, label, o, bar)
    keys = {"dataset": header["dataset"], "task": header["task"], "p_model": header["objective"]}
    keys |= {"lambda": header["lambda"], "training_r": training_r, "seed": header["seed"]}
    table = similarities(found, o.seed).assign(**keys)
    write_csv(o.save_dir / "pairs.csv", table[[*keys, *table.columns.drop(list(keys))]])
    moved = (aware - plain).square().mean(dim=(1, 2, 3)).sqrt().cpu()
    shown = (plain.cpu(), moved, label.tolist(), split.info.classes)
    write_planes(o.save_dir / "planes.png", found, *shown, o.radius)
