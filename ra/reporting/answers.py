"""Picture of what recognizers answer: boxes and regions over the images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ra.models.recognizers import Recognizer
from ra.reporting.names import recognizer_title
from ra.reporting.plots import panels, save


def write_answers(
    path: Path, images: Tensor, recognizers: Mapping[str, Recognizer], classes: Sequence[str]
) -> None:
    """PNG: a row per recognizer, an image a column.

    Args:
        images: processed ones, (n, 3, H, W) in [0, 1].
        classes: names in the order of labels, from 1.
    """
    figure, drawn = panels(len(images), width=2.4, height=2.5, rows=len(recognizers))
    cells = iter(drawn)
    for name, recognizer in recognizers.items():
        for number, image in enumerate(images.clamp(0, 1)):
            axes = next(cells)
            axes.imshow(image.permute(1, 2, 0).numpy())
            axes.set(xticks=[], yticks=[], ylabel="" if number else recognizer_title(name))
            axes.yaxis.label.set_fontsize(7)
            recognizer.cpu().draw(axes, image, classes)
    save(figure, path)
