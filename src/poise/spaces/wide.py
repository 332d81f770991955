"""The wide kernels of the execution `stacked`: tensors hold the channels of many candidates side by side, ``[batch,
n · C, height, width]``, and lie as the values that enter do, channels first or last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side, and not the pixels of a channel."""
    return x.stride(1) == 1 and x.stride(3) != 1


def layout_of(x: Tensor) -> torch.memory_format:
    """The layout of what is computed from ``x``."""
    return torch.channels_last if channels_last(x) else torch.contiguous_format


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Side by side along the channels."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def spread(x: Tensor, sources: int, wanted: Sequence[int]) -> Tensor:
    """A copy for each of the ``wanted`` sources: ``[batch, sources · C, h, w] -> [batch, wanted · C, h, w]``."""
    each = len(wanted) // sources
    if list(wanted) != [source for source in range(sources) for _ in range(each)]:
        parts = x.chunk(sources, dim=1)
        return joined([parts[source] for source in wanted])
    if each == 1:
        return x
    if channels_last(x):
        rows = torch.unflatten(x.permute(0, 2, 3, 1), 3, (sources, 1, -1)).expand(-1, -1, -1, -1, each, -1)
        return rows.flatten(3).permute(0, 3, 1, 2)
    return torch.unflatten(x, 1, (sources, 1, -1)).expand(-1, -1, each, -1, -1, -1).flatten(1, 3)


def in_groups(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A pointwise convolution of every group, ``weight [groups · C, K, 1, 1]``."""
    if channels_last(x) or groups == 1:
        return F.conv2d(x, weight, groups=groups)
    batch, _, height, width = x.shape
    y = weight.view(groups, -1, weight.shape[1]) @ x.view(batch, groups, -1, height * width)
    return y.view(batch, -1, height, width)


def reduced(x: Tensor, even: Tensor, odd: Tensor) -> Tensor:
    """The maps of `poise.spaces.operations.FactorizedReduce` of several members, ``even [members · C/2, C, 1, 1]``, on
    a rectified ``x``."""
    shifted = F.pad(x[:, :, 1::2, 1::2], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    first, second = F.conv2d(x[:, :, ::2, ::2], even), F.conv2d(shifted, odd)
    members = (len(even) + len(odd)) // x.shape[1]
    both = torch.cat([torch.unflatten(half, 1, (members, -1)) for half in (first, second)], dim=2)
    return both.flatten(1, 2)


def weighted(pieces: Sequence[Tensor], coefficients: Tensor) -> Sequence[Tensor]:
    """``A · pieces``, a tensor ``[batch, C, h, w]`` per target.

    Channels last it is a pointwise convolution with ``A ⊗ 1``, for every tensor of pieces: side by side in one, their
    gradients would be parts of another tensor, which batch normalisations take several times as long for.

    Args:
        pieces: tensors that hold all pieces, one after the other.
        coefficients: ``A [targets, pieces]``.
    """
    targets, count = coefficients.shape
    if not channels_last(pieces[0]):
        batch, _, height, width = pieces[0].shape
        sums = torch.bmm(coefficients.expand(batch, -1, -1), joined(pieces).view(batch, count, -1))
        return sums.view(batch, targets, -1, height, width).unbind(dim=1)
    channels = sum(part.shape[1] for part in pieces) // count
    ones = torch.eye(channels, dtype=coefficients.dtype, device=coefficients.device)
    weight = (coefficients[:, None, :, None] * ones[:, None, :]).reshape(-1, count * channels, 1, 1)
    weights = torch.split_with_sizes(weight, [part.shape[1] for part in pieces], 1)
    terms = [F.conv2d(part, own) for part, own in zip(pieces, weights, strict=True)]
    return sum(terms[1:], start=terms[0]).chunk(targets, dim=1)
