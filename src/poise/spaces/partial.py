"""Partial channels: a mixed cell whose operations see 1/K of the channels; the rest goes past them.

With ``x = [x₁, x₂]``, ``x₁`` the first C/K channels, an edge computes ``shuffle([Σ_o p_o · o(x₁), x₂])``; where it has
a stride of 2 the rest is brought to its size by 2×2 max pooling. The shuffle deals the channels out, as if to K
players, so that the next node's first part holds some of both. Since fewer channels make the choice of operations
noisy, every edge is also weighted against the others that enter its node: ``Σ_e β_e · edge_e(x)``, ``β`` relaxed from
alphas of its own (edge normalisation).

Rest and shuffle are linear, so a node adds up both parts first and shuffles once.

Source: Xu et al., PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search (ICLR 2020,
arXiv:1907.05737), equations 2 and 3. Differs: a max-pooled odd size is rounded up, as strided convolutions do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.errors import Refused, shown
from poise.spaces.execution import Source, mixed_node
from poise.supernet.groups import ChoiceGroup, Row


def check_partial(channels: int, partial: int) -> None:
    """Raise `Refused` unless the channels can be divided."""
    if isinstance(partial, bool) or not isinstance(partial, int) or partial < 1:
        raise Refused(f"partial must be a positive whole number, got {shown(partial)}")
    if channels % partial:
        raise Refused(f"{channels} channels cannot be divided into {partial} equal parts; choose a multiple")


def edge_groups(group: ChoiceGroup, nodes: Sequence[Sequence[int]]) -> tuple[ChoiceGroup, ...]:
    """For every node that several rows of a cell enter, the group of their ``β``: one row, a candidate per edge."""
    found = []
    for rows in nodes:
        if len(rows) > 1:
            names = tuple(group.rows[row].name for row in rows)
            node = names[0].partition("->")[2]
            inputs = Row(f"into {node}", names)
            found.append(
                ChoiceGroup(
                    f"{group.name}.{node}", group.layers, (inputs,), aligned=False, scales=(group.name, tuple(rows))
                )
            )
    return tuple(found)


def seen(x: Tensor, channels: int) -> Tensor:
    """What an edge's operations see: the first channels."""
    return x if channels == x.shape[1] else x[:, :channels].contiguous(memory_format=torch.channels_last)


def past(x: Tensor, stride: int) -> Tensor:
    """What goes past an edge's operations, in the size of their results."""
    return F.max_pool2d(x, 2, ceil_mode=True) if stride == 2 else x


def shuffle(x: Tensor, parts: int) -> Tensor:
    """Channel ``i·C/K + j`` becomes channel ``j·K + i``: ``[n, C, h, w]``, channels last."""
    n, c, h, w = x.shape
    dealt = x.permute(0, 2, 3, 1).reshape(n, h, w, parts, c // parts).transpose(3, 4)
    return dealt.reshape(n, h, w, c).permute(0, 3, 1, 2)


def joined(mixed: Tensor, rests: Sequence[Tensor], weights: Tensor, parts: int) -> Tensor:
    """A node: the sum of its edges' mixtures beside the weighted sum of what went past them, shuffled.

    Args:
        mixed: ``Σ_e β_e Σ_o p[e, o] · o(x₁)``, ``[n, C/K, h, w]``.
        rests: for every edge what `past` made of ``x₂``, ``[n, C − C/K, h, w]``.
        weights: ``β``, ``[edges]``.
        parts: K.
    """
    rest = sum((weight * x for weight, x in zip(weights[1:], rests[1:], strict=True)), start=weights[0] * rests[0])
    return shuffle(torch.cat([mixed, rest], dim=1), parts)


def partial_node(
    edges: Sequence[tuple[nn.Module, Source]],
    inputs: Sequence[tuple[Tensor, int]],
    mixture: Tensor,
    weights: Tensor | None,
    parts: int,
) -> Tensor:
    """A node of a mixed cell: what `joined` makes of the mixtures and the rests of the edges that enter it; the
    mixtures' sum alone where ``parts`` is 1.

    Args:
        edges: the operations of every edge, and what they see.
        inputs: for every edge the whole of its input, and its stride.
        mixture: ``p``, ``[edges, candidates]``.
        weights: ``β``, ``[edges]``; None only where ``parts`` is 1.
        parts: K.
    """
    if weights is None:
        return mixed_node(edges, mixture)
    mixed = mixed_node(edges, mixture * weights[:, None])
    rests = [past(x[:, x.shape[1] // parts :], stride) for x, stride in inputs]
    return joined(mixed, rests, weights, parts)
