"""Depthwise convolutions whose backward pass is fast on a CPU, too.

The forward pass is `torch.nn.functional.conv2d`; with stride 2 and dilation 2 it is the ordinary one on every second
row and column. Of the gradients (stride 1, float32, CPU; else all is left to torch)

- the input's is a forward convolution with the kernel turned by half a turn;
- the weight's has a fast kernel for widths up to 3 only: at width 5 it takes 20 times as long. So a wide kernel's
  columns are computed three at a time: the left three of ``5×5`` are a ``5×3`` kernel on the input with two columns of
  zeros on its left, and none on its right; the right three are its mirror image. With dilation 2 it is the ordinary
  one's on the four interleaved sub-grids (`to_grids`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from poise.supernet.double_backward import differentiable_gradient

WORTH = 2**17
"""Numbers of an input from which on this pays; below, the longer way through Python costs more."""


def depthwise_conv(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Every channel of ``x [batch, C, height, width]`` convolved with its own kernel, ``weight [C, 1, k, k]``, k odd;
    padded so that stride 1 keeps the size."""
    if stride == dilation == 2:
        x, stride, dilation = x[:, :, ::2, ::2], 1, 1
    fast = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    even = dilation == 1 or (dilation == 2 and x.shape[2] % 2 == x.shape[3] % 2 == 0)
    if fast and stride == 1 and even and weight.shape[3] in (3, 5) and x.numel() >= WORTH:
        values: Tensor = _Depthwise.apply(x, weight, dilation)  # type: ignore[no-untyped-call]
        return values
    return F.conv2d(x, weight, None, stride, dilation * (weight.shape[2] // 2), dilation, x.shape[1])


def to_grids(x: Tensor) -> Tensor:
    """Cut into the four sub-grids of even/odd rows and columns: ``[n, c, 2h, 2w] -> [4n, c, h, w]``, channels last."""
    n, c, height, width = x.shape
    cut = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, c).permute(2, 4, 0, 1, 3, 5)
    return cut.reshape(4 * n, height // 2, width // 2, c).permute(0, 3, 1, 2)


def from_grids(x: Tensor) -> Tensor:
    """The inverse of `to_grids`."""
    n, c, height, width = x.shape
    joined = x.permute(0, 2, 3, 1).reshape(2, 2, n // 4, height, width, c).permute(2, 3, 0, 4, 1, 5)
    return joined.reshape(n // 4, 2 * height, 2 * width, c).permute(0, 3, 1, 2)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _plain((x, weight), dilation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # it will be differentiated again
            plain = partial(_plain, dilation=ctx.dilation)
            return (*differentiable_gradient(plain, (x, weight), ctx.needs_input_grad[:2], gradient), None)
        gradient_x = gradient_w = None
        if ctx.needs_input_grad[0]:
            gradient_x = _plain((gradient, weight.flip(2, 3)), ctx.dilation)
        if ctx.needs_input_grad[1]:
            if ctx.dilation == 2:
                x, gradient = to_grids(x), to_grids(gradient)
            gradient_w = _weight_gradient(x, gradient, weight.shape[2])
        return gradient_x, gradient_w, None


def _plain(inputs: Sequence[Tensor | None], dilation: int) -> Tensor:
    x, weight = inputs
    assert x is not None
    assert weight is not None
    return F.conv2d(x, weight, None, 1, dilation * (weight.shape[2] // 2), dilation, x.shape[1])


def _weight_gradient(x: Tensor, gradient: Tensor, kernel: int) -> Tensor:
    """``[C, 1, k, k]`` for k = 3 or 5; see the header."""
    channels, half = x.shape[1], kernel // 2

    def columns(x: Tensor, padding: int) -> Tensor:
        shape = (channels, 1, kernel, 3)
        found: Tensor = conv2d_weight(x, shape, gradient, 1, (half, padding), 1, channels)  # type: ignore[no-untyped-call]
        return found

    if kernel == 3:
        return columns(x, 1)
    left, right = columns(_padded(x, 2, 0), 0), columns(_padded(x, 0, 2), 0)
    return torch.cat([left, right[..., 1:]], dim=3)


def _padded(x: Tensor, left: int, right: int) -> Tensor:
    """With columns of zeros beside it, channels last; only these are filled with zeros first, as `F.pad` does not."""
    batch, channels, height, width = x.shape
    padded = x.new_empty(batch, height, left + width + right, channels).permute(0, 3, 1, 2)
    padded[..., :left].zero_()
    padded[..., left + width :].zero_()
    padded[..., left : left + width].copy_(x)
    return padded
