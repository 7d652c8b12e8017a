"""Recognizers of every kind by the name of their architecture."""

from collections.abc import Callable

from ra.models import classifiers
from ra.models.recognizers import Recognizer
from ra.settings.base import Int, Settings, checked, setting
from ra.settings.shared import SCRATCH


class Network(Settings):
    """What describes the network of a recognizer."""

    arch: str = setting(..., "torchvision's or timm's name")
    num_classes: Int = setting(..., "number of its logits", ge=1, le=1_000_000)
    input_size: Int | None = setting(None, "side of its images in pixels", ge=1, le=4096)


def build_recognizer(
    arch: str, num_classes: int, weights: str = SCRATCH, input_size: int | None = None
) -> Recognizer:
    """The recognizer ``arch`` with random weights for ``num_classes``, or pretrained ``weights``.

    Args:
        arch: a classifier, detector or segmenter of torchvision; ``tiny_detector``,
            ``tiny_segmenter``; ``timm:NAME``, or a name only timm knows.
        num_classes: number of its classes; whole pretrained networks bring their own.
        weights: ``scratch``; torchvision's name such as IMAGENET1K_V1, for detectors and segmenters
            also of their backbone; ``DEFAULT``; with timm all but ``scratch`` means the weights of
            the tag in NAME. Pretrained weights come from the libraries' own cache (TORCH_HOME).
        input_size: side in pixels of its images, to which classifiers resize; None takes the
            architecture's own.

    Raises:
        UserError: an unknown name, an impossible number or size, or weights that are neither
            cached nor can be downloaded.
    """
    checked(Network, {"arch": arch, "num_classes": num_classes, "input_size": input_size})
    make: Callable[..., Recognizer] = classifiers.build_classifier
    if arch not in classifiers.list_classifiers():
        from ra.models import detectors, segmenters  # here: only their users pay for the import

        if arch in segmenters.list_segmenters():
            make = segmenters.build_segmenter
        elif arch in detectors.list_detectors():
            make = detectors.build_detector
    recognizer = make(arch, num_classes, weights, input_size)
    size = {"logits": recognizer.logits, "input_size": recognizer.input_size}
    recognizer.header = {"arch": arch, **size}
    return recognizer
