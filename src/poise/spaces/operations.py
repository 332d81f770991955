"""The candidate operations of the cell spaces. Knows torch only, so that an exported network can carry this code along.

Every operation is built as ``OPERATIONS[name](channels, stride, search)`` and maps ``[batch, channels, height,
width]`` to
``[batch, channels, ceil(height / stride), ceil(width / stride)]``. ``search=True`` is its form in a supernet: batch
normalisations have no scale and shift of their own (the mixture is the scale), and one follows each pooling.

Source: Liu et al., DARTS (arXiv:1806.09055), section 3.1; NAS-Bench-201 (arXiv:2001.00326), section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Zero(nn.Module):
    """``none``: zeros of the output's shape."""

    def __init__(self, channels: int, stride: int, search: bool) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """``noise``: standard normal noise of the output's shape, whatever the input (space S4)."""

    stochastic = True

    def __init__(self, channels: int, stride: int, search: bool) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, draws: Any = None) -> Tensor:
        """``draws``: what hands out random numbers; None: torch's own generators."""
        like = x[:, :, :: self.stride, :: self.stride]
        return torch.randn_like(like) if draws is None else draws.normal(like.shape, like.dtype)


class Pool(nn.Module):
    """3×3 pooling; the average does not count padding. Followed by a batch normalisation in a supernet."""

    def __init__(self, channels: int, stride: int, search: bool, kind: str) -> None:
        super().__init__()
        self.stride = stride
        self.kind = kind
        self.norm = nn.BatchNorm2d(channels, affine=False) if search else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "max":
            return self.norm(F.max_pool2d(x, 3, self.stride, padding=1))
        return self.norm(F.avg_pool2d(x, 3, self.stride, padding=1, count_include_pad=False))


class FactorizedReduce(nn.Module):
    """Halve the size with two 1×1 convolutions on the even and the odd pixels, half of the channels each.

    An odd size is padded by one row or column of zeros for the shifted half, so that any size works. The pixels are
    picked before the convolutions, not by their stride: oneDNN's kernel for the gradient of a strided 1×1 convolution
    crashes on fewer than 16 channels of larger images (seen in torch 2.13 on AVX-512, from 56×56 pixels on).
    """

    def __init__(self, channels_in: int, channels_out: int, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        shifted = F.pad(x[:, :, 1::2, 1::2], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return self.norm(torch.cat([self.even(x[:, :, ::2, ::2]), self.odd(shifted)], dim=1))


class Skip(nn.Module):
    """``skip_connect``: the identity, or a `FactorizedReduce` where the stride is 2."""

    def __init__(self, channels: int, stride: int, search: bool) -> None:
        super().__init__()
        self.reduce = nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine=not search)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(x)


class ReluConvNorm(nn.Module):
    """ReLU, convolution, batch normalisation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.relu(x)))


class Conv(nn.Module):
    """``nor_conv_*``: `ReluConvNorm` that keeps the number of channels."""

    def __init__(self, channels: int, stride: int, search: bool, kernel: int) -> None:
        super().__init__()
        self.body = ReluConvNorm(channels, channels, kernel, stride, affine=not search)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class DilConv(nn.Module):
    """Dilated depthwise-separable convolution: ReLU, depthwise (dilation 2), pointwise, batch normalisation."""

    def __init__(self, channels: int, stride: int, search: bool, kernel: int, dilation: int = 2) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=False
        )
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=not search)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pointwise(self.depthwise(F.relu(x))))


class SepConv(nn.Module):
    """Depthwise-separable convolution, applied twice; the first one carries the stride."""

    def __init__(self, channels: int, stride: int, search: bool, kernel: int) -> None:
        super().__init__()
        self.first = DilConv(channels, stride, search, kernel, dilation=1)
        self.second = DilConv(channels, 1, search, kernel, dilation=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "none": Zero,
    "max_pool_3x3": partial(Pool, kind="max"),
    "avg_pool_3x3": partial(Pool, kind="avg"),
    "skip_connect": Skip,
    "sep_conv_3x3": partial(SepConv, kernel=3),
    "sep_conv_5x5": partial(SepConv, kernel=5),
    "dil_conv_3x3": partial(DilConv, kernel=3),
    "dil_conv_5x5": partial(DilConv, kernel=5),
    "noise": Noise,
}
"""The operations of the DARTS space and of S1-S4."""

NASBENCH201_OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "none": Zero,
    "skip_connect": Skip,
    "nor_conv_1x1": partial(Conv, kernel=1),
    "nor_conv_3x3": partial(Conv, kernel=3),
    "avg_pool_3x3": lambda channels, stride, search: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
}
"""The operations of NAS-Bench-201; its pooling has no batch normalisation in either form."""
