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
from poise.spaces.execution import Execution, Pass, chosen
from poise.spaces.normed import Normed
from poise.spaces.stacked import Plan, Stacked
from poise.spaces.wide import layout_of
from poise.supernet.choice import draws
from poise.supernet.draws import Chance
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
    return x if channels == x.shape[1] else x[:, :channels].contiguous(memory_format=layout_of(x))


def past(x: Tensor, stride: int) -> Tensor:
    """What goes past an edge's operations, in the size of their results."""
    return F.max_pool2d(x, 2, ceil_mode=True) if stride == 2 else x


def shuffle(x: Tensor, parts: int) -> Tensor:
    """Channel ``i·C/K + j`` becomes channel ``j·K + i``: ``[n, C, h, w]``."""
    dealt = torch.unflatten(x, 1, (parts, -1)).transpose(1, 2).flatten(1, 2)
    return dealt.contiguous(memory_format=layout_of(x))


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


class MixedEdges(nn.Module):
    """What mixed cells share in which every node has an edge from each node before it: the edges, and how they see
    ``1/partial`` of the ``channels``. Its ``edges`` are a module per edge, in the nodes' order, that holds candidates.
    """

    edges: nn.ModuleDict

    def __init__(self, channels: int, partial: int) -> None:
        super().__init__()
        self.partial = partial
        self.mixed = channels // partial
        self.execution: Execution = "auto"
        self._plan: Plan | None = None
        self._stochastic: bool | None = None

    def stacks(self, x: Tensor, mixture: Tensor, skip_dropout: float = 0.0) -> bool:
        """Whether the execution is `Stacked`, for inputs of the batch and size of ``x``."""
        if self._stochastic is None:
            self._stochastic = draws(self.edges)
        random = self._stochastic or (skip_dropout > 0 and self.training)
        size = x.numel() // x.shape[1] * self.mixed
        return chosen(self.execution, mixture, size, skipping=not random) == "stacked"

    def nodes(
        self,
        inputs: Sequence[Tensor],
        stride: int,
        mixture: Tensor,
        weights: Tensor | None,
        skip_dropout: float,
        chance: Chance | None,
    ) -> list[Tensor]:
        """The inputs and, after them, the cell's own nodes.

        Args:
            inputs: the cell's, from which edges have this ``stride``.
            mixture: ``p``, ``[edges, candidates]``.
            weights: ``β``, ``[edges]``; None only where ``partial`` is 1: then a node is the mixtures' sum alone.
            skip_dropout, chance: of `Source`.
        """
        nodes = list(inputs)
        edges = list(self.edges.children())
        shares = mixture if weights is None else mixture * weights[:, None]
        passing: Pass
        if self.stacks(nodes[0], mixture, skip_dropout):
            if self._plan is None or not self._plan.fits(edges):
                self._plan = Plan(edges, len(nodes), stride)
            passing = Stacked(self._plan, shares, self.training, skip_dropout, chance)
        else:
            passing = Normed(edges, shares, stride, self.training, skip_dropout, chance)
        passing.enter([seen(x, self.mixed) for x in nodes])
        first = 0
        while first < len(edges):
            rows = slice(first, first + len(nodes))
            node = passing.node()
            if weights is not None:
                strides = [stride if place < len(inputs) else 1 for place in range(len(nodes))]
                rests = [past(x[:, self.mixed :], step) for x, step in zip(nodes, strides, strict=True)]
                node = joined(node, rests, weights[rows], self.partial)
            nodes.append(node)
            first = rows.stop
            if first < len(edges):
                passing.enter([seen(node, self.mixed)])
        return nodes
