"""k recognizers in one evaluation, against one pass of the processor and their bare passes."""

from collections.abc import Callable

import torch

from ra.bench.measure import spread, verdict
from ra.bench.scene import Options, Work, objective_of, prepared, recognizer_of
from ra.data.batches import loader, validation_keys
from ra.data.degradations import build_task
from ra.data.splits import Crops, ImageSplit
from ra.evaluation.evaluate import evaluate
from ra.runtime.devices import autocast, placed

TARGET = 1.1


def compare(options: Options) -> list[dict[str, object]]:
    """Rows for 1, half and all of the recognizers, per size."""
    counts = sorted({1, (len(options.recognizers) + 1) // 2, len(options.recognizers)})
    return [row for work in options.works for row in _rows(options, work, options.task, counts)]


def _rows(options: Options, work: Work, task: str, counts: list[int]) -> list[dict[str, object]]:
    data = prepared(options, work.crop, work.batch_size * work.steps)
    crops = Crops(ImageSplit(data, "val"), build_task(task))
    keys = validation_keys(len(crops), work.batch_size)
    batches = loader(crops, keys, options.workers, options.device)
    processor = objective_of(options, "plain", task).modules["processor"].eval()
    recognizers = {arch: recognizer_of(options, arch) for arch in options.recognizers}
    scale = build_task(task).scale

    def evaluated_with(count: int) -> Callable[[], object]:
        chosen = dict(list(recognizers.items())[:count])
        return lambda: evaluate(
            processor, None, chosen, batches, scale, options.device, options.precision
        )

    resident = [batch.to(options.device) for batch in batches]
    for model in (processor, *recognizers.values()):
        placed(model, options.device)
    outputs = [_passed(processor, batch.input, options) for batch in resident]
    ways = {"one pass": evaluated_with(0)}
    ways |= {"P": lambda: [_passed(processor, batch.input, options) for batch in resident]}
    ways |= {arch: _passes(one, outputs, options) for arch, one in recognizers.items()}
    ways |= {str(count): evaluated_with(count) for count in counts}
    seconds = options.interleaved(ways)
    rows = []
    for count in counts:
        parts = [seconds["one pass"], *(seconds[name] for name in options.recognizers[:count])]
        bare = [sum(times) for times in zip(*parts, strict=True)]
        ratio = spread(seconds[str(count)], bare)
        rows.append(
            {
                "px": work.crop,
                "batch": work.batch_size,
                "task": task,
                "recognizers": count,
                "bare processor s": min(seconds["P"]),
                "one pass s": min(seconds["one pass"]),
                "bare recognizers s": sum(min(times) for times in parts[1:]),
                "evaluate s": min(seconds[str(count)]),
                **ratio,
                **verdict(ratio["best"], TARGET, at_least=False),
            }
        )
    return rows


@torch.inference_mode()
def _passed(model, images, options: Options):
    with autocast(options.device, options.precision):
        return model(images)


def _passes(recognizer, outputs, options: Options) -> Callable[[], object]:
    return lambda: [_passed(recognizer, output, options) for output in outputs]
