"""Depthwise convolutions whose backward pass is fast on a CPU, too.

The forward pass is `torch.nn.functional.conv2d`. Of the gradients (stride 1, float32, CPU; else all is left to torch)

- the input's is a forward convolution with the kernel turned by half a turn;
- the weight's has a fast kernel for widths up to 3 only: at width 5 it takes 20 times as long. So a wide kernel's
  columns are computed three at a time: the left three of ``5×5`` are a ``5×3`` kernel on the input with two columns of
  zeros on its left, and none on its right; the right three are its mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from poise.supernet.double_backward import differentiable_gradient

WORTH = 2**17
"""Numbers of an input from which on this pays; below, the longer way through Python costs more."""


def depthwise_conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Every channel of ``x [batch, C, height, width]`` convolved with its own kernel, ``weight [C, 1, k, k]``, k odd;
    padded so that stride 1 keeps the size."""
    fast = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if fast and stride == 1 and weight.shape[3] in (3, 5) and x.numel() >= WORTH:
        values: Tensor = _Depthwise.apply(x, weight)  # type: ignore[no-untyped-call]
        return values
    return F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, x.shape[1])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _plain((x, weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # it will be differentiated again
            return tuple(differentiable_gradient(_plain, (x, weight), ctx.needs_input_grad, gradient))
        gradient_x = gradient_w = None
        if ctx.needs_input_grad[0]:
            gradient_x = F.conv2d(gradient, weight.flip(2, 3), None, 1, weight.shape[2] // 2, 1, x.shape[1])
        if ctx.needs_input_grad[1]:
            gradient_w = _weight_gradient(x, gradient, weight.shape[2])
        return gradient_x, gradient_w


def _plain(inputs: Sequence[Tensor | None]) -> Tensor:
    x, weight = inputs
    assert x is not None
    assert weight is not None
    return F.conv2d(x, weight, None, 1, weight.shape[2] // 2, 1, x.shape[1])


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
