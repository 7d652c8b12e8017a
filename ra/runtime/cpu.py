"""Convolutions and PReLU that a CPU computes faster: the same functions and parameters.

Where torch's own modules lose time on a CPU, measured in docs/performance.md:

- A convolution brings its weights into oneDNN's layout at each call, which is most of a frozen
  recognizer's time on few small images. ``PackedConv2d`` packs fixed weights once.
- A convolution computes sixteen channels at once, a full vector, even where there are three: in the
  processor's last layer, and in the gradient at the recognizer's input. ``NarrowConv2d`` and
  ``FirstConv2d`` fill the vector with neighbouring pixels.
- The gradient of PReLU is computed element by element. ``VectorPReLU`` computes whole vectors.
"""

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

ONEDNN = torch.ops.mkldnn
# Measured on x86-64 only; elsewhere torch's own modules stay.
AVAILABLE = platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()
VECTOR = 16  # channels that a convolution computes in the time of one
NEIGHBOURS = 4  # pixels of a row that a narrow convolution computes at once
# Packing smaller weights takes less time than calling a Python function.
PACKED_WEIGHTS = 2**16


def accelerate(module: nn.Module) -> None:
    """Have the classes below compute the parts of ``module``, which is on a CPU.

    Freeze what is to be fixed before. Parameters and their names stay as they are.
    """
    if AVAILABLE:
        for part in module.modules():
            if (faster := _faster(part)) is not None:
                part.__class__ = faster


def _faster(part: nn.Module) -> type[nn.Module] | None:
    if type(part) is nn.PReLU and part.num_parameters == 1:
        return VectorPReLU
    if type(part) is not nn.Conv2d or part.groups != 1 or isinstance(part.padding, str):
        return None
    step, dense = part.stride[0], part.dilation == (1, 1)
    if part.weight.requires_grad:
        narrow = part.out_channels * NEIGHBOURS <= VECTOR
        return NarrowConv2d if narrow and dense and part.stride == (1, 1) else None
    if part.padding_mode != "zeros":
        return None
    blocks = part.stride == (step, step) and step > 1 and part.in_channels * step**2 <= VECTOR
    if blocks and dense:
        return FirstConv2d
    return PackedConv2d if part.weight.numel() >= PACKED_WEIGHTS else None


def _autocast(x: Tensor) -> Tensor:
    """``x`` in the dtype in which a convolution computes under autocast."""
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


class PackedConv2d(nn.Conv2d):
    """A convolution whose weights do not change, kept in oneDNN's layout."""

    padding: tuple[int, int]

    def forward(self, x: Tensor) -> Tensor:
        x = _autocast(x)
        known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
        if self.weight.requires_grad or not known:
            return super().forward(x)
        return _Packed.apply(x, self)

    def forwards(self, x: Tensor) -> Tensor:
        """The convolution of ``x`` (N, C, H, W)."""
        geometry = self.padding, self.stride, self.dilation, 1
        weight = self._packed(ONEDNN._reorder_convolution_weight, x, geometry)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return ONEDNN._convolution_pointwise(x, weight, bias, *geometry, "none", [], "")

    def backwards(self, gradient: Tensor, size: torch.Size) -> Tensor:
        """The gradient at an input of ``size``: the transposed convolution of ``gradient``."""
        geometry = self.padding, self.left_over(gradient, size), self.stride, self.dilation, 1
        weight = self._packed(ONEDNN._reorder_convolution_transpose_weight, gradient, geometry)
        return ONEDNN._convolution_transpose_pointwise(
            gradient, weight, None, *geometry, "none", [], ""
        )

    def left_over(self, gradient: Tensor, size: torch.Size) -> list[int]:
        """Rows and columns at the input's end that no output depends on."""
        window = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        reached = [(n - 1) * s for n, s in zip(gradient.shape[2:], self.stride, strict=True)]
        return [size[2 + i] + 2 * self.padding[i] - reached[i] - window[i] for i in (0, 1)]

    def _packed(self, pack, x: Tensor, geometry) -> Tensor:
        key, weight = (pack, x.dtype), self.weight.detach()
        return self.kept(key, lambda: pack(weight.to(x.dtype), *geometry, list(x.shape)))

    def kept(self, key, make):
        """The result of ``make``, kept under ``key`` for as long as the weights stay in place."""
        packs, place = self.__dict__.setdefault("packs", {}), self.weight.data_ptr()
        if packs.get(key, (None,))[0] != place:
            packs[key] = place, make()
        return packs[key][1]

    def _load_from_state_dict(self, *arguments, **options):
        self.__dict__.pop("packs", None)
        return super()._load_from_state_dict(*arguments, **options)

    def __getstate__(self) -> dict:
        """Without the packed weights: oneDNN's tensors cannot be copied."""
        return {key: value for key, value in self.__dict__.items() if key != "packs"}


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, module: PackedConv2d) -> Tensor:
        ctx.module, ctx.size = module, x.shape
        return module.forwards(x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        m = ctx.module
        if torch.is_grad_enabled():  # the gradient itself is differentiated
            geometry = m.stride, m.padding, m.dilation
            weight = m.weight.to(gradient.dtype)
            return conv2d_input(ctx.size, weight, gradient, *geometry), None
        return m.backwards(gradient, ctx.size), None


class FirstConv2d(PackedConv2d):
    """A fixed convolution of few channels with a stride: a recognizer's first layer.

    Its gradient at the image is a convolution of stride 1 whose output channels are the pixels of
    a block of stride x stride; a pixel shuffle puts them in place.
    """

    def backwards(self, gradient: Tensor, size: torch.Size) -> Tensor:
        height, width = gradient.shape[2:]
        step, _ = self.stride
        if tuple(size[2:]) != (height * step, width * step):
            return super().backwards(gradient, size)
        reach = [
            ((k - 1 - p) // step, (step - 1 + p) // step)
            for k, p in zip(self.kernel_size, self.padding, strict=True)
        ]
        around = [max(pair) for pair in reach]
        weight = self.kept(gradient.dtype, lambda: self._blocks(reach).to(gradient.dtype))
        y = torch.conv2d(gradient, weight, None, 1, around)
        top, left = (most - before for most, (before, _) in zip(around, reach, strict=True))
        return F.pixel_shuffle(y[..., top : top + height, left : left + width], step)

    def _blocks(self, reach: list[tuple[int, int]]) -> Tensor:
        """Weights from the gradient, ``reach`` = (before, after) per axis, to a block of pixels."""
        step, _ = self.stride
        pads = []
        for (before, after), kernel, padding in zip(
            reach, self.kernel_size, self.padding, strict=True
        ):
            first = step * after - padding
            pads = [first, step * (before + after + 1) - kernel - first, *pads]
        blocks = F.pixel_unshuffle(F.pad(self.weight.detach(), pads), step)
        return blocks.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)


class NarrowConv2d(nn.Conv2d):
    """A convolution to few channels that computes NEIGHBOURS pixels of a row at once.

    The kernel is copied once per neighbour, each copy a pixel further to the right and zero
    elsewhere; the stride is the width of a group of neighbours.
    """

    def forward(self, x: Tensor) -> Tensor:
        same = 2 * self.padding[1] == self.kernel_size[1] - 1
        if x.device.type != "cpu" or not same or x.shape[3] % NEIGHBOURS:
            return super().forward(x)
        padding = self.padding
        if self.padding_mode != "zeros":
            x = F.pad(x, self._reversed_padding_repeated_twice, self.padding_mode)
            padding = (0, 0)
        return _Narrow.apply(_autocast(x), self.weight, self.bias, padding)


class _Narrow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, padding) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.biased = padding, bias is not None
        wide = _shifted(weight.to(x.dtype))
        many = None if bias is None else bias.to(x.dtype).repeat(NEIGHBOURS)
        y = torch.conv2d(x, wide, many, (1, NEIGHBOURS), padding)
        return _regrouped(y, NEIGHBOURS)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        channels, kernel = gradient.shape[1], weight.shape[3]
        at_x = at_weight = at_bias = None
        if ctx.needs_input_grad[0]:  # the plain way round: few channels are read, many written
            at_x, _, _ = _gradients(gradient, x, weight.to(x.dtype), (1, 1), ctx.padding, 0)
        if ctx.needs_input_grad[1]:
            groups, wide = _regrouped(gradient, 1 / NEIGHBOURS), _shifted(weight.to(x.dtype))
            stride = 1, NEIGHBOURS
            _, at_wide, at_many = _gradients(groups, x, wide, stride, ctx.padding, 1)
            each = at_wide.to(weight.dtype).split(channels)
            at_weight = sum(part[..., j : j + kernel] for j, part in enumerate(each))
            if ctx.biased:
                at_bias = at_many.to(weight.dtype).view(NEIGHBOURS, channels).sum(dim=0)
        return at_x, at_weight, at_bias, None


def _regrouped(y: Tensor, factor: float) -> Tensor:
    """(N, C, H, W) -> (N, C / factor, H, W * factor): channels and neighbours lie side by side."""
    n, channels, height, width = y.shape
    flat = y.permute(0, 2, 3, 1).reshape(n, height, int(width * factor), int(channels / factor))
    return flat.permute(0, 3, 1, 2)


def _shifted(weight: Tensor) -> Tensor:
    """(c, C, h, w) -> (NEIGHBOURS * c, C, h, w + NEIGHBOURS - 1): the j-th copy j to the right."""
    copies = [F.pad(weight, (j, NEIGHBOURS - 1 - j)) for j in range(NEIGHBOURS)]
    return torch.cat(copies).contiguous(memory_format=torch.channels_last)


def _gradients(gradient, x, weight, stride, padding, which):
    """Of a convolution: at its input (``which`` 0), or at its weights and bias (1)."""
    mask = which == 0, which == 1, which == 1
    shape = [len(weight)]
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, shape, stride, padding, (1, 1), False, (0, 0), 1, mask
    )


class VectorPReLU(nn.PReLU):
    """PReLU with one parameter, computed by leaky ReLU's kernels."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        return _LeakyReLU.apply(x, self.weight)


class _LeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, slope: Tensor) -> Tensor:
        y = F.leaky_relu(x, slope.item())
        # The next layer keeps y as well, and x follows from it where the slope is not near 0.
        ctx.from_result = slope.item() > 1e-2
        ctx.save_for_backward(y if ctx.from_result else x, slope)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor):
        kept, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself is differentiated
            at_x = torch.where(kept > 0, gradient, slope.to(gradient.dtype) * gradient)
        else:
            at_x = torch.ops.aten.leaky_relu_backward(gradient, kept, slope.item(), ctx.from_result)
        at_slope = kept.clamp(max=0).mul_(gradient).sum(dtype=slope.dtype).view(1)
        return at_x, at_slope / slope if ctx.from_result else at_slope
