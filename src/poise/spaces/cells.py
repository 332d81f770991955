"""The supernet of the DARTS cell spaces: every edge of every cell is a mixture of its candidates.

Source: Liu et al., DARTS (arXiv:1806.09055), section 3.1: cells of 2 inputs and 4 intermediate nodes, reduction
cells at
1/3 and 2/3 of the depth, a 3×3 stem to three times the channels, batch normalisation without affine parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poise.spaces.cell_network import ends, reductions
from poise.spaces.heads import head
from poise.spaces.normed import preprocess
from poise.spaces.operations import OPERATIONS, FactorizedReduce, ReluConvNorm
from poise.spaces.partial import MixedEdges, edge_groups
from poise.spaces.random_numbers import only_given
from poise.spaces.space import ImageShape
from poise.supernet.draws import Chance
from poise.supernet.groups import ChoiceGroup, Mixture, Row, row_weights

NODES = 4
"""Intermediate nodes of a cell."""

EDGES = tuple((source, target) for target in range(2, 2 + NODES) for source in range(target))
"""The 14 edges in the papers' order: node 2 from 0, 1; node 3 from 0, 1, 2; ..."""

INCOMING = tuple(tuple(row for row, edge in enumerate(EDGES) if edge[1] == node) for node in range(2, 2 + NODES))
"""For every intermediate node the rows that enter it."""


def edge_rows(candidates: Sequence[Sequence[str]]) -> tuple[Row, ...]:
    """Rows ``source->target`` for the 14 edges, each with its own candidates."""
    named = zip(EDGES, candidates, strict=True)
    return tuple(Row(f"{source}->{target}", tuple(names)) for (source, target), names in named)


def cell_groups(
    normal: tuple[Row, ...], reduce: tuple[Row, ...], cells: int, partial: int = 1
) -> tuple[ChoiceGroup, ...]:
    """The groups of normal and of reduction cells; with partial channels, after them those that weight their edges. The
    two reduction cells play different parts: they are not aligned."""
    reducing = len(set(reductions(cells)))
    both = (
        ChoiceGroup("normal", cells - reducing, normal, nodes=INCOMING, inputs=2),
        ChoiceGroup("reduce", reducing, reduce, nodes=INCOMING, inputs=2, aligned=False),
    )
    return both if partial == 1 else (*both, *(more for group in both for more in edge_groups(group, INCOMING)))


class MixedCell(MixedEdges):
    """A cell whose every edge computes ``sum_o p[edge, o] * o(x)``."""

    def __init__(
        self,
        rows: Sequence[Row],
        inputs: tuple[int, int],
        channels: int,
        reduction: bool,
        halve_first: bool,
        partial: int = 1,
    ) -> None:
        super().__init__(channels, partial)
        self.channels_out = NODES * channels
        self.stride = 2 if reduction else 1
        self.first = (
            FactorizedReduce(inputs[0], channels, affine=False)
            if halve_first
            else ReluConvNorm(inputs[0], channels, 1, 1, affine=False)
        )
        self.second = ReluConvNorm(inputs[1], channels, 1, 1, affine=False)
        self.edges = nn.ModuleDict()
        for (source, _), row in zip(EDGES, rows, strict=True):
            stride = 2 if reduction and source < 2 else 1
            operations = {name: OPERATIONS[name](self.mixed, stride, True) for name in row.candidates}
            self.edges[row.name] = nn.ModuleDict(operations)

    def forward(
        self,
        first: Tensor,
        second: Tensor,
        mixture: Tensor,
        weights: Tensor | None = None,
        skip_dropout: float = 0.0,
        chance: Chance | None = None,
    ) -> Tensor:
        """``mixture [rows, candidates]`` and the edges' ``weights [rows]`` are this layer's own; ``skip_dropout`` and
        ``chance`` are those of `Source`."""
        bodies = ((self.first, first), (self.second, second))
        stacks = self.stacks(second, mixture, skip_dropout)
        inputs = [body(x) if stacks else preprocess(body, x) for body, x in bodies]
        return torch.cat(self.nodes(inputs, self.stride, mixture, weights, skip_dropout, chance)[2:], dim=1)


class CellSupernet(nn.Module):
    """The supernet: ``(images [batch, channels, height, width], mixture) -> logits [batch, outputs]``, or for a dense
    shape ``[batch, outputs, height, width]``."""

    def __init__(
        self, groups: tuple[ChoiceGroup, ...], shape: ImageShape, channels: int, cells: int, partial: int = 1
    ) -> None:
        super().__init__()
        self.groups = groups
        normal, reduce = groups[:2]
        self.stem = nn.Sequential(
            nn.Conv2d(shape.channels, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)
        )
        inputs, width, halve_first = (3 * channels, 3 * channels), channels, False
        self.cells = nn.ModuleList()
        self.layers: list[tuple[str, int]] = []
        self.ends = ends(cells)
        widths = []
        seen = {normal.name: 0, reduce.name: 0}
        for index in range(cells):
            reduction = index in reductions(cells)
            group = reduce if reduction else normal
            width = 2 * width if reduction else width
            cell = MixedCell(group.rows, inputs, width, reduction, halve_first, partial)
            self.cells.append(cell)
            self.layers.append((group.name, seen[group.name]))
            seen[group.name] += 1
            inputs, halve_first = (inputs[1], cell.channels_out), reduction
            if index in self.ends:
                widths.append(cell.channels_out)
        self.classifier = head(widths, shape.outputs, shape.dense)
        self.takes_draws = only_given(self)

    def forward(
        self, images: Tensor, mixture: Mixture, skip_dropout: float = 0.0, draws: Chance | None = None
    ) -> Tensor:
        first = second = self.stem(images)
        weights = {group.name: row_weights(group, self.groups, mixture) for group in self.groups[:2]}
        maps = []
        for index, (cell, (group, layer)) in enumerate(zip(self.cells, self.layers, strict=True)):
            scale = weights[group]
            own = None if scale is None else scale[layer]
            first, second = second, cell(first, second, mixture[group][layer], own, skip_dropout, draws)
            if index in self.ends:
                maps.append(second)
        logits: Tensor = self.classifier(maps, images.shape[2:])
        return logits
