"""Gradients that lie in memory as their weights do.

Kernels on whole lists of tensors, and fused ones, take what belongs together to lie alike: on a GPU a single tensor of
another layout makes them go one tensor at a time. Autograd makes no such promise: a pointwise weight's gradient may
come as if its channels were last, or first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def laid_out(values: Tensor, like: Tensor) -> Tensor:
    """The same numbers, in memory in the order of ``like``."""
    if values.stride() == like.stride():
        return values
    strides = zip(values.stride(), like.stride(), values.shape, strict=True)
    if all(own == other or size == 1 for own, other, size in strides):  # no number lies elsewhere
        return values.as_strided(like.shape, like.stride())
    return torch.empty_like(like).copy_(values)


def all_laid_out(values: Sequence[Tensor], likes: Sequence[Tensor]) -> list[Tensor]:
    """`laid_out`, one by one."""
    return [laid_out(each, like) for each, like in zip(values, likes, strict=True)]


def gradients(value: Tensor, weights: Sequence[Tensor], others: Sequence[Tensor] = ()) -> list[Tensor]:
    """``∂value/∂weight``, laid out, and after them ``∂value/∂other``; zeros for what has no influence."""
    found = torch.autograd.grad(value, [*weights, *others], allow_unused=True, materialize_grads=True)
    return [*all_laid_out(found[: len(weights)], weights), *found[len(weights) :]]
