"""3×3 average pooling that is fast on a CPU, too.

The mean over the pixels that exist is the window's sum, divided by how many pixels of it lie inside. With stride 1 that
sum is a depthwise convolution with ones, and so is its gradient: a CPU takes less time for them than for the pooling.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def average_3x3(x: Tensor, stride: int) -> Tensor:
    """``[batch, C, h, w] -> [batch, C, ceil(h/stride), ceil(w/stride)]``; padding does not count."""
    fast = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if stride != 1 or not fast:
        return F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)
    values: Tensor = _Average.apply(x)  # type: ignore[no-untyped-call]
    return values


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.share = share = _window_sums(x.new_ones(1, 1, *x.shape[2:])).reciprocal_()
        return _window_sums(x) * share

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _window_sums(gradient * ctx.share)


def _window_sums(x: Tensor) -> Tensor:
    return F.conv2d(x, x.new_ones(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])
