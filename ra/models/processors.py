"""Processors and transformers: degraded image -> restored image, both RGB in [0, 1].

A further architecture is one class here and its registry line.
"""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ra.errors import UserError
from ra.registry import Registry

PROCESSORS = Registry("architecture", given=("scale",))

Width = Annotated[int, Field(ge=1, description="width, channels of the convolutions")]
Depth = Annotated[int, Field(ge=1, description="number of residual or dense blocks")]
Skip = Annotated[bool, Field(description="add to the bicubically up-sampled input")]
Padding = Annotated[
    Literal["zeros", "replicate", "reflect"],
    Field(description="how convolutions continue an image: zeros, replicate or reflect"),
]


def build_processor(arch: str, scale: int, **sizes: object) -> nn.Module:
    """The network ``arch``; its ``header`` holds what a checkpoint needs to build it again.

    Args:
        scale: up-scaling factor: the task's, 1 for dn, jpeg and a transformer.
        sizes: parameters of its class, such as ``channels``; the others keep their defaults.

    Raises:
        UserError: no such architecture or size, or it cannot do this scale.
    """
    settings = PROCESSORS.check(arch, sizes, f"{arch}: ")
    module = PROCESSORS.get(arch)(scale=scale, **settings)
    module.header = {"arch": arch, "scale": scale, **settings}
    return module


def _enlargements(scale: int, arch: str) -> list[int]:
    """The twos and threes whose product is ``scale``."""
    powers = range(1, scale.bit_length())
    found = [side for side in (2, 3) for power in powers if scale % side**power == 0]
    if math.prod(found) != scale:
        raise UserError(f"{arch}: up-scaling factor {scale} is not a product of twos and threes")
    return found


def _pixels(x: Tensor) -> str:
    return f"{x.shape[-2]}x{x.shape[-1]} px"


def _same(before: int, after: int, side: int, padding: Padding) -> nn.Conv2d:
    """A convolution whose output is as large as its input."""
    return nn.Conv2d(before, after, side, padding=side // 2, padding_mode=padding)


def _at_zero(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    return convolution


def clamp(output: Tensor) -> Tensor:
    """``output`` in [0, 1]. The gradient passes: an output that once left it could not return."""
    return output + (output.clamp(0, 1) - output).detach()


class ResidualBlock(nn.Module):
    """conv3-BN-PReLU-conv3-BN + identity, at constant width."""

    def __init__(self, channels: int, padding: Padding) -> None:
        super().__init__()
        self.conv1 = _same(channels, channels, 3, padding)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU()
        self.conv2 = _same(channels, channels, 3, padding)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))


def _upsampler(channels: int, side: int, padding: Padding) -> list[nn.Module]:
    wide = _same(channels, side**2 * channels, 3, padding)
    return [wide, nn.PixelShuffle(side), nn.PReLU()]


@PROCESSORS.register("SRResNet")
class SRResNet(nn.Module):
    """The paper's default processor; block1 to block8 are named as in the released checkpoints.

    forward: (N, 3, h, w) in [0, 1] -> (N, 3, h * scale, w * scale) in [0, 1].

    Args:
        channels: width.
        blocks: number of residual blocks.
        skip: add 0.3 (Adam stays stable: Lim et al. 2017, section 3.2) of the last convolution,
            which begins at zero, to the bicubic image; else paint the whole, as the paper does.
        padding: beyond the border. ``zeros``, the paper's, is a black frame within the network's
            reach: trained on small crops, it never sees an image without one.
    """

    def __init__(
        self,
        scale: int,
        channels: Width = 64,
        blocks: Depth = 5,
        skip: Skip = False,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.scale, self.blocks, self.skip, self.padding = scale, blocks, skip, padding
        self.block1 = nn.Sequential(_same(3, channels, 9, padding), nn.PReLU())
        for number in range(blocks):
            self.add_module(f"block{number + 2}", ResidualBlock(channels, padding))
        after = nn.Sequential(_same(channels, channels, 3, padding), nn.PReLU())
        self.add_module(f"block{blocks + 2}", after)
        sides = _enlargements(scale, "SRResNet")
        up = [part for side in sides for part in _upsampler(channels, side, padding)]
        last = _same(channels, 3, 9, padding)
        self.add_module(f"block{blocks + 3}", nn.Sequential(*up, _at_zero(last) if skip else last))

    def forward(self, x: Tensor) -> Tensor:
        if self.padding == "reflect" and min(x.shape[-2:]) < 5:
            raise UserError(f"SRResNet: {_pixels(x)} is too small to reflect; 5x5 px is needed")
        first = features = self.block1(x)
        for number in range(2, self.blocks + 3):
            features = self.get_submodule(f"block{number}")(features)
        output = self.get_submodule(f"block{self.blocks + 3}")(first + features)
        if not self.skip:
            return (torch.tanh(output) + 1) / 2
        size = [side * self.scale for side in x.shape[-2:]]
        return clamp(F.interpolate(x, size=size, mode="bicubic", antialias=True) + 0.3 * output)


@PROCESSORS.register("SRDenseNet")
class SRDenseNet(nn.Module):
    """SRDenseNet (Tong et al., ICCV 2017) as the released script builds it; sr only.

    Blocks of eight conv3-ReLU layers, each with the output of all before it as input, also of
    those in earlier blocks; a 1x1 bottleneck; one transposed convolution per factor of two (or
    three); conv3 to RGB. The script leaves the output unbounded; here it is (tanh + 1) / 2.

    forward: (N, 3, h, w) in [0, 1] -> (N, 3, h * scale, w * scale) in [0, 1].

    Args:
        channels: growth, what one dense layer adds.
        blocks: number of dense blocks.
    """

    LAYERS, BOTTLENECK = 8, 128

    def __init__(self, scale: int, channels: Width = 16, blocks: Depth = 8) -> None:
        super().__init__()
        if scale == 1:
            raise UserError("SRDenseNet only up-scales; use it for sr, or SRResNet or pix2pix")
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        layers = self.LAYERS * blocks
        self.dense = nn.ModuleList(
            nn.Conv2d((1 + before) * channels, channels, 3, padding=1) for before in range(layers)
        )
        narrow = self.BOTTLENECK
        self.bottleneck = nn.Conv2d((1 + layers) * channels, narrow, 1)
        ups = [
            nn.ConvTranspose2d(narrow, narrow, side + 2, stride=side, padding=1)
            for side in _enlargements(scale, "SRDenseNet")
        ]
        self.upscale = nn.Sequential(*ups)
        self.last = nn.Conv2d(narrow, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.first(x).relu()
        for layer in self.dense:
            features = torch.cat([features, layer(features).relu()], dim=1)
        output = self.last(self.upscale(self.bottleneck(features)))
        return (torch.tanh(output) + 1) / 2


class PaddedBlock(nn.Module):
    """Residual block of the pix2pix generator: reflected borders, batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels), nn.ReLU(), *_convolution(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _convolution(before: int, after: int, side: int = 3, stride: int = 1) -> list[nn.Module]:
    # No bias: the norm that follows subtracts the mean.
    mode: Literal["reflect", "zeros"] = "reflect" if stride == 1 else "zeros"
    convolution = nn.Conv2d(
        before, after, side, stride, padding=side // 2, padding_mode=mode, bias=False
    )
    return [convolution, nn.BatchNorm2d(after)]


@PROCESSORS.register("pix2pix")
class Pix2PixGenerator(nn.Module):
    """The ResNet generator of pix2pix (Isola et al., CVPR 2017): two stride-2 stages, ``blocks``
    residual blocks, two transposed convolutions. For dn and jpeg, and the default transformer.

    Batch norm, as in the released script: the instance norm of pix2pix's own default would take
    each image's contrast away.

    forward: (N, 3, H, W) in [0, 1] -> the same; H and W divisible by 4 and at least 8.
    """

    multiple = 4  # of which sides must be multiples

    def __init__(self, scale: int, channels: Width = 64, blocks: Depth = 6) -> None:
        super().__init__()
        if scale != 1:
            raise UserError("pix2pix does not up-scale; use it for dn or jpeg, or SRResNet")
        c = channels
        layers = [*_convolution(3, c, side=7), nn.ReLU()]
        for before, after in ((c, 2 * c), (2 * c, 4 * c)):
            layers += [*_convolution(before, after, stride=2), nn.ReLU()]
        layers += [PaddedBlock(4 * c) for _ in range(blocks)]
        for before, after in ((4 * c, 2 * c), (2 * c, c)):
            up = nn.ConvTranspose2d(
                before, after, 3, stride=2, padding=1, output_padding=1, bias=False
            )
            layers += [up, nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.Conv2d(c, 3, 7, padding=3, padding_mode="reflect")]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % 4 or width % 4:
            raise UserError(f"pix2pix: {_pixels(x)} is not divisible by 4; change the crop")
        if min(height, width) < 8:
            raise UserError(f"pix2pix: {_pixels(x)} is too small; at least 8x8 px is needed")
        return (torch.tanh(self.body(x)) + 1) / 2


@PROCESSORS.register("residual")
class ResidualConvolutions(nn.Module):
    """x + f(x), where f is ``blocks`` conv3-PReLU layers and a last conv3 that begins at zero.

    It begins as the identity, so as a transformer it passes images on from the first step; the
    paper's (pix2pix) has to learn the image first, for which short trainings have no time.

    forward: (N, 3, H, W) in [0, 1] -> the same.
    """

    def __init__(
        self, scale: int, channels: Width = 16, blocks: Depth = 2, padding: Padding = "zeros"
    ) -> None:
        super().__init__()
        if scale != 1:
            raise UserError("residual does not up-scale; use it for dn or jpeg, or SRResNet")
        layers: list[nn.Module] = []
        for before in (3, *[channels] * (blocks - 1)):
            layers += [_same(before, channels, 3, padding), nn.PReLU()]
        self.body = nn.Sequential(*layers, _at_zero(_same(channels, 3, 3, padding)))

    def forward(self, x: Tensor) -> Tensor:
        return clamp(x + self.body(x))
