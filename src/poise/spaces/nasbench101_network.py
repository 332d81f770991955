"""The discrete network of NAS-Bench-101. Knows torch only: exports carry this code.

Source: Ying et al., NAS-Bench-101 (arXiv:1902.09635), section 2 and figure 1: a 3×3 stem, three stacks of cells, the
size halved and the channels doubled between stacks, global pooling, linear.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNormRelu(nn.Module):
    """Convolution, batch normalisation, ReLU: the benchmark's order, which is not that of the DARTS space."""

    def __init__(self, channels_in: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


def pool(channels_in: int, channels: int) -> nn.Module:
    """3×3 max-pooling, which keeps size and channels."""
    return nn.MaxPool2d(3, 1, padding=1)


NASBENCH101_OPERATIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "maxpool3x3": pool,
    "conv1x1-bn-relu": partial(ConvNormRelu, kernel=1),
    "conv3x3-bn-relu": partial(ConvNormRelu, kernel=3),
}
"""Name -> ``(channels in, channels out) -> module``."""


def halved(x: Tensor) -> Tensor:
    """What lies between two stacks: 2×2 max-pooling of stride 2, an odd row or column filled up."""
    return F.max_pool2d(x, 2, ceil_mode=True)


def vertex_channels(matrix: list[list[int]], channels: int) -> list[int]:
    """The channels of every inner vertex of a cell of ``channels`` channels, the first vertex first.

    Those that the output concatenates share its channels equally, the first ones taking what is left over. Any other
    vertex has as many as the widest one that reads it.

    Args:
        matrix: of a pruned cell, ``matrix[source][target]``.
    """
    last = len(matrix) - 1
    ends = [vertex for vertex in range(1, last) if matrix[vertex][last]]
    found = [0] * (last + 1)
    for place, vertex in enumerate(ends):
        found[vertex] = channels // len(ends) + (place < channels % len(ends))
    for vertex in range(last - 1, 0, -1):
        if vertex not in ends:
            found[vertex] = max(found[target] for target in range(vertex + 1, last) if matrix[vertex][target])
    return found[1:last]


class NasBench101Cell(nn.Module):
    """A vertex applies its operation to the sum of its inputs; the output concatenates its own.

    An edge from the cell's input is a 1×1 convolution of its own. One from a wider vertex takes its first channels: the
    two differ by one channel where a division had a remainder. An edge from input to output adds a projected input.
    """

    def __init__(self, matrix: list[list[int]], operations: list[str], channels_in: int, channels: int) -> None:
        super().__init__()
        self.matrix = matrix
        self.widths = vertex_channels(matrix, channels)
        self.projections = nn.ModuleDict()
        self.vertices = nn.ModuleList()
        for vertex, (name, width) in enumerate(zip(operations, self.widths, strict=True), start=1):
            if matrix[0][vertex]:
                self.projections[str(vertex)] = ConvNormRelu(channels_in, width, 1)
            self.vertices.append(NASBENCH101_OPERATIONS[name](width, width))
        if matrix[0][-1]:
            self.projections["output"] = ConvNormRelu(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        values: list[Tensor] = []
        for vertex, (operation, width) in enumerate(zip(self.vertices, self.widths, strict=True), start=1):
            terms = [value[:, :width] for source, value in enumerate(values, start=1) if self.matrix[source][vertex]]
            if self.matrix[0][vertex]:
                terms.append(self.projections[str(vertex)](x))
            values.append(operation(sum(terms[1:], terms[0])))
        ends = [value for source, value in enumerate(values, start=1) if self.matrix[source][-1]]
        if not ends:
            return self.projections["output"](x)
        joined = torch.cat(ends, dim=1)
        return joined + self.projections["output"](x) if self.matrix[0][-1] else joined


class NasBench101Network(nn.Module):
    """The network of a cell.

    Args:
        matrix, operations: of a pruned cell: ``matrix[source][target]`` is 1 for an edge, operations of inner vertices.
        image_channels, classes: of the data.
        channels: of the stem and the first stack (128); they double where the size is halved.
        cells: of the whole network (9); the size is halved before cell ``cells // 3`` and cell ``2 · cells // 3``.
    """

    draws_nothing = True

    def __init__(
        self,
        matrix: list[list[int]],
        operations: list[str],
        image_channels: int,
        classes: int,
        channels: int,
        cells: int,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {
            "matrix": matrix,
            "operations": operations,
            "image_channels": image_channels,
            "classes": classes,
            "channels": channels,
            "cells": cells,
        }
        self.halving = (cells // 3, 2 * cells // 3)
        self.stem = ConvNormRelu(image_channels, channels, 3)
        self.cells = nn.ModuleList()
        width = channels
        for index in range(cells):
            wider = 2 * width if index in self.halving else width
            before = channels if index == 0 else width
            self.cells.append(NasBench101Cell(matrix, operations, before, wider))
            width = wider
        self.classifier = nn.Linear(width, classes)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The last feature maps of each resolution, the finest first: what the classifier goes by is the last."""
        x = self.stem(images)
        maps = []
        for index, cell in enumerate(self.cells):
            if index in self.halving:
                maps.append(x)
            x = cell(halved(x) if index in self.halving else x)
        return [*maps, x]

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.maps(images)[-1].mean(dim=(2, 3)))
