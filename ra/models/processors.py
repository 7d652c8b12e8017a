"""P and T: degraded image -> restored image, both RGB in [0, 1] (method.md, "Networks").

A further architecture is one class here and its registry line.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from ra.errors import UserError, unknown
from ra.registry import Registry

PROCESSORS = Registry("architecture")


def build_processor(arch: str, scale: int, **sizes: int) -> nn.Module:
    """P (or T) called ``arch``; it gets ``header``, what a checkpoint needs to build it again.

    Args:
        scale: up-scaling factor: the task's, 1 for dn, jpeg and T.
        sizes: ``channels``, ``blocks``; what is left out is the architecture's own.

    Raises:
        UserError: no such architecture or size, or it cannot do this scale.
    """
    build = PROCESSORS.get(arch)
    known = [name for name in inspect.signature(build).parameters if name != "scale"]
    for name in sizes:
        if name not in known:
            raise unknown(f"size of {arch}", name, known)
        if not isinstance(sizes[name], int) or sizes[name] < 1:
            raise UserError(f"{arch}: {name} is {sizes[name]!r}; it must be a whole number above 0")
    module = build(scale=scale, **sizes)
    module.header = {"arch": arch, "scale": scale, **sizes}
    return module


def _doublings(scale: int, arch: str) -> int:
    if scale < 1 or scale & (scale - 1):
        raise UserError(f"{arch}: up-scaling factor {scale} is not a power of two")
    return scale.bit_length() - 1


class ResidualBlock(nn.Module):
    """conv3-BN-PReLU-conv3-BN + identity, at constant width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))


def _upsampler(channels: int) -> list[nn.Module]:
    wide = nn.Conv2d(channels, 4 * channels, 3, padding=1)
    return [wide, nn.PixelShuffle(2), nn.PReLU()]


@PROCESSORS.register("SRResNet")
class SRResNet(nn.Module):
    """The paper's default P; parts are named block1 to block8 as in the released checkpoints.

    forward: (N, 3, h, w) in [0, 1] -> (N, 3, h * scale, w * scale) in [0, 1].
    """

    def __init__(self, scale: int, channels: int = 64, blocks: int = 5) -> None:
        super().__init__()
        self.blocks = blocks
        self.block1 = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU())
        for number in range(blocks):
            self.add_module(f"block{number + 2}", ResidualBlock(channels))
        after = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.PReLU())
        self.add_module(f"block{blocks + 2}", after)
        up = [part for _ in range(_doublings(scale, "SRResNet")) for part in _upsampler(channels)]
        last = nn.Sequential(*up, nn.Conv2d(channels, 3, 9, padding=4))
        self.add_module(f"block{blocks + 3}", last)

    def forward(self, x: Tensor) -> Tensor:
        first = features = self.block1(x)
        for number in range(2, self.blocks + 3):
            features = self.get_submodule(f"block{number}")(features)
        output = self.get_submodule(f"block{self.blocks + 3}")(first + features)
        return (torch.tanh(output) + 1) / 2


@PROCESSORS.register("SRDenseNet")
class SRDenseNet(nn.Module):
    """SRDenseNet (Tong et al., ICCV 2017) as the released script builds it; sr only.

    Blocks of eight conv3-ReLU layers, each layer reading all before it, also those of earlier
    blocks; a 1x1 bottleneck; one transposed convolution per factor of two; conv3 to RGB. The
    script leaves the output unbounded; here it is (tanh + 1) / 2, as every P's.

    forward: (N, 3, h, w) in [0, 1] -> (N, 3, h * scale, w * scale) in [0, 1].

    Args:
        channels: growth, what one dense layer adds.
        blocks: number of dense blocks.
    """

    LAYERS, BOTTLENECK = 8, 128

    def __init__(self, scale: int, channels: int = 16, blocks: int = 8) -> None:
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
            nn.ConvTranspose2d(narrow, narrow, 4, stride=2, padding=1)
            for _ in range(_doublings(scale, "SRDenseNet"))
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
    mode = {"padding": side // 2, "padding_mode": "reflect" if stride == 1 else "zeros"}
    convolution = nn.Conv2d(before, after, side, stride=stride, bias=False, **mode)
    return [convolution, nn.BatchNorm2d(after)]


@PROCESSORS.register("pix2pix")
class Pix2PixGenerator(nn.Module):
    """The ResNet generator of pix2pix (Isola et al., CVPR 2017): two stride-2 stages, ``blocks``
    residual blocks, two transposed convolutions. P for dn and jpeg, and the default T.

    Batch norm, as in the released script: the instance norm of pix2pix's own default would take
    each image's contrast away.

    forward: (N, 3, H, W) in [0, 1] -> the same; H and W divisible by 4 and at least 8.
    """

    multiple = 4  # of which sides must be multiples

    def __init__(self, scale: int, channels: int = 64, blocks: int = 6) -> None:
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
            raise UserError(f"pix2pix: {height}x{width} px is not divisible by 4; change the crop")
        if min(height, width) < 8:
            raise UserError(f"pix2pix: {height}x{width} px is too small; at least 8x8 px is needed")
        return (torch.tanh(self.body(x)) + 1) / 2


@PROCESSORS.register("residual")
class ResidualConvolutions(nn.Module):
    """x + f(x), where f is ``blocks`` conv3-PReLU layers and a last conv3 that begins at zero.

    It begins as the identity, so as T it needs no training before R can read through it; the
    paper's T (pix2pix) has to learn the image first, for which short trainings have no time. The
    gradient passes the clamp to [0, 1]: a T that once left it everywhere could not come back.

    forward: (N, 3, H, W) in [0, 1] -> the same.
    """

    def __init__(self, scale: int, channels: int = 16, blocks: int = 2) -> None:
        super().__init__()
        if scale != 1:
            raise UserError("residual does not up-scale; use it for dn or jpeg, or SRResNet")
        layers: list[nn.Module] = []
        for before in (3, *[channels] * (blocks - 1)):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.PReLU()]
        last = nn.Conv2d(channels, 3, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.body = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        output = x + self.body(x)
        return output + (output.clamp(0, 1) - output).detach()
