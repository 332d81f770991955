"""Every candidate operation of the cell spaces, plain and slow: formulas on a state dict, nothing shared or skipped.

The oracle for fast implementations. ``state`` maps the names of a poise supernet's `state_dict` to tensors; running
statistics in it are updated in place when ``training``. Size and stride are explicit everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def batch_norm(state: State, name: str, x: Tensor, training: bool) -> Tensor:
    """``(x − mean) / sqrt(variance + 1e-5)``, times scale plus shift where the state has them."""
    running_mean, running_variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    mean, variance = running_mean, running_variance
    if training:
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        mean = x.sum(dim=(0, 2, 3)) / pixels
        variance = ((x - mean[None, :, None, None]) ** 2).sum(dim=(0, 2, 3)) / pixels
        with torch.no_grad():
            running_mean.copy_(0.9 * running_mean + 0.1 * mean)
            running_variance.copy_(0.9 * running_variance + 0.1 * variance * pixels / (pixels - 1))
            state[f"{name}.num_batches_tracked"] += 1
    x = (x - mean[None, :, None, None]) / torch.sqrt(variance + 1e-5)[None, :, None, None]
    if f"{name}.weight" in state:
        x = x * state[f"{name}.weight"][None, :, None, None] + state[f"{name}.bias"][None, :, None, None]
    return x


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """A 1×1 convolution: a matrix applied to the channels of every pixel."""
    return torch.einsum("nchw,dc->ndhw", x, weight[:, :, 0, 0])


def none(x: Tensor, stride: int) -> Tensor:
    return 0 * x[:, :, ::stride, ::stride]


def max_pool(x: Tensor, stride: int) -> Tensor:
    return F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=float("-inf")), 3, stride)


def avg_pool(x: Tensor, stride: int) -> Tensor:
    """The sum over the 3×3 window divided by the number of its pixels that lie inside the image."""
    window = x.new_ones(x.shape[1], 1, 3, 3)
    total = F.conv2d(x, window, stride=stride, padding=1, groups=x.shape[1])
    count = F.conv2d(torch.ones_like(x), window, stride=stride, padding=1, groups=x.shape[1])
    return total / count


def relu_conv_norm(state: State, name: str, x: Tensor, kernel: int, stride: int, training: bool) -> Tensor:
    x = F.conv2d(F.relu(x), state[f"{name}.conv.weight"], stride=stride, padding=(kernel - 1) // 2)
    return batch_norm(state, f"{name}.norm", x, training)


def factorized_reduce(state: State, name: str, x: Tensor, training: bool) -> Tensor:
    """Pixels (0, 0), (0, 2), ... through one matrix, (1, 1), (1, 3), ... through another; zeros beyond the image."""
    x = F.relu(x)
    height, width = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
    padded = F.pad(x, (0, 2, 0, 2))
    even = padded[:, :, 0 : 2 * height : 2, 0 : 2 * width : 2]
    odd = padded[:, :, 1 : 2 * height : 2, 1 : 2 * width : 2]
    halves = [pointwise(even, state[f"{name}.even.weight"]), pointwise(odd, state[f"{name}.odd.weight"])]
    return batch_norm(state, f"{name}.norm", torch.cat(halves, dim=1), training)


def depthwise_separable(
    state: State, name: str, x: Tensor, kernel: int, stride: int, dilation: int, training: bool
) -> Tensor:
    """ReLU, one filter per channel, a matrix over the channels, batch normalisation."""
    weight = state[f"{name}.depthwise.weight"]
    reach = dilation * (kernel - 1) // 2
    x = F.relu(x)
    x = F.conv2d(x, weight, stride=stride, padding=reach, dilation=dilation, groups=x.shape[1])
    x = pointwise(x, state[f"{name}.pointwise.weight"])
    return batch_norm(state, f"{name}.norm", x, training)


def darts_operation(state: State, name: str, operation: str, x: Tensor, stride: int, training: bool) -> Tensor:
    """One candidate of the DARTS space in its supernet form; ``name`` is its place in the state."""
    if operation == "none":
        return none(x, stride)
    if operation == "noise":
        return torch.randn_like(none(x, stride))
    if operation == "max_pool_3x3":
        return batch_norm(state, f"{name}.norm", max_pool(x, stride), training)
    if operation == "avg_pool_3x3":
        return batch_norm(state, f"{name}.norm", avg_pool(x, stride), training)
    if operation == "skip_connect":
        return x if stride == 1 else factorized_reduce(state, f"{name}.reduce", x, training)
    if operation in ("sep_conv_3x3", "sep_conv_5x5"):
        kernel = 3 if operation == "sep_conv_3x3" else 5
        x = depthwise_separable(state, f"{name}.first", x, kernel, stride, 1, training)
        return depthwise_separable(state, f"{name}.second", x, kernel, 1, 1, training)
    if operation in ("dil_conv_3x3", "dil_conv_5x5"):
        kernel = 3 if operation == "dil_conv_3x3" else 5
        return depthwise_separable(state, name, x, kernel, stride, 2, training)
    raise AssertionError(operation)


def nasbench201_operation(state: State, name: str, operation: str, x: Tensor, training: bool) -> Tensor:
    """One candidate of NAS-Bench-201 (always of stride 1)."""
    if operation == "none":
        return none(x, 1)
    if operation == "skip_connect":
        return x
    if operation == "nor_conv_1x1":
        return relu_conv_norm(state, f"{name}.body", x, 1, 1, training)
    if operation == "nor_conv_3x3":
        return relu_conv_norm(state, f"{name}.body", x, 3, 1, training)
    if operation == "avg_pool_3x3":
        return avg_pool(x, 1)
    raise AssertionError(operation)
