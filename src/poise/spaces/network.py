"""The discrete network of the DARTS cell spaces, lean and ready to retrain. Knows torch only: exports carry this code.

Modules have the names that they have in the supernet, so that weights can be carried over by name. A node without any
input is left out, with all that would read it: the cell's output has fewer channels (Fair DARTS's irregular cells).

Source: Liu et al., DARTS (arXiv:1806.09055), section 3.1 and appendix A; Chu et al., Fair DARTS (arXiv:1911.12126).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.spaces.operations import OPERATIONS, FactorizedReduce, ReluConvNorm, Skip


def reductions(cells: int) -> tuple[int, int]:
    """The indices of the reduction cells of a network of ``cells`` cells: at 1/3 and 2/3 of the depth."""
    return cells // 3, 2 * cells // 3


def live_edges(rows: dict[str, list[str]], intermediate: int) -> dict[int, list[tuple[int, str, list[str]]]]:
    """Node -> its incoming ``(source, row name, operations)``, for the nodes that an input of the cell reaches."""
    live: dict[int, list[tuple[int, str, list[str]]]] = {0: [], 1: []}
    for node in range(2, 2 + intermediate):
        edges = [(source, f"{source}->{node}", rows.get(f"{source}->{node}", [])) for source in range(node)]
        edges = [edge for edge in edges if edge[2] and edge[0] in live]
        if edges:
            live[node] = edges
    return {node: edges for node, edges in live.items() if node > 1}


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole samples with ``probability`` and scale the others, so that the mean stays the same."""
    keep = torch.rand(x.shape[0], 1, 1, 1, device=x.device, dtype=x.dtype) >= probability
    return x * keep / (1 - probability)


class Cell(nn.Module):
    """One cell: every live node is the sum of its operations' outputs; the live nodes are concatenated."""

    def __init__(
        self,
        rows: dict[str, list[str]],
        inputs: tuple[int, int],
        channels: int,
        reduction: bool,
        halve_first: bool,
        search: bool = False,
        intermediate: int = 4,
    ) -> None:
        super().__init__()
        self.live = live_edges(rows, intermediate)
        self.channels_out = channels * len(self.live)
        affine = not search
        self.first = (
            FactorizedReduce(inputs[0], channels, affine)
            if halve_first
            else ReluConvNorm(inputs[0], channels, 1, 1, affine)
        )
        self.second = ReluConvNorm(inputs[1], channels, 1, 1, affine)
        self.edges = nn.ModuleDict()
        for edges in self.live.values():
            for source, row, names in edges:
                stride = 2 if reduction and source < 2 else 1
                self.edges[row] = nn.ModuleDict({name: OPERATIONS[name](channels, stride, search) for name in names})

    def forward(self, first: Tensor, second: Tensor, drop: float = 0.0) -> Tensor:
        states = {0: self.first(first), 1: self.second(second)}
        for node, edges in self.live.items():
            terms = []
            for source, row, _ in edges:
                for operation in self.edges[row].children():
                    term = operation(states[source])
                    identity = isinstance(operation, Skip) and isinstance(operation.reduce, nn.Identity)
                    terms.append(drop_path(term, drop) if drop > 0 and not identity else term)
            states[node] = sum(terms[1:], terms[0])
        return torch.cat([states[node] for node in self.live], dim=1)


class AuxiliaryHead(nn.Module):
    """A second classifier at two thirds of the depth, for training only: pooling to 2×2, two convolutions, linear.

    At the published feature size 8×8 the pooling is the published one (5×5, stride 3); at any other size it is
    adaptive.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        x = F.avg_pool2d(x, 5, 3) if x.shape[2:] == (8, 8) else F.adaptive_avg_pool2d(x, 2)
        return self.classifier(self.features(x).flatten(1))


class CellNetwork(nn.Module):
    """Stem, cells (reduction cells at 1/3 and 2/3 of the depth), global average pooling, linear classifier.

    Args:
        cell_rows: cell kind (``normal``, ``reduce``) -> row ``source->node`` -> operations on it.
        image_channels, classes: of the data.
        channels: channels of the first cells; they double at each reduction.
        cells: number of cells.
        auxiliary: whether `heads` has a second classifier.
        search: the supernet's form of every operation (for weights taken from a supernet), not the one to retrain.
    """

    def __init__(
        self,
        cell_rows: dict[str, dict[str, list[str]]],
        image_channels: int,
        classes: int,
        channels: int,
        cells: int,
        auxiliary: bool = False,
        search: bool = False,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {
            "cell_rows": cell_rows,
            "image_channels": image_channels,
            "classes": classes,
            "channels": channels,
            "cells": cells,
            "auxiliary": auxiliary,
            "search": search,
        }
        self.stem = nn.Sequential(
            nn.Conv2d(image_channels, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)
        )
        inputs, width, halve_first = (3 * channels, 3 * channels), channels, False
        self.cells = nn.ModuleList()
        self.auxiliary_at = 2 * cells // 3 if auxiliary else None
        self.auxiliary: nn.Module | None = None
        for index in range(cells):
            reduction = index in reductions(cells)
            width = 2 * width if reduction else width
            cell = Cell(cell_rows["reduce" if reduction else "normal"], inputs, width, reduction, halve_first, search)
            self.cells.append(cell)
            inputs, halve_first = (inputs[1], cell.channels_out), reduction
            if index == self.auxiliary_at:
                self.auxiliary = AuxiliaryHead(cell.channels_out, classes)
        self.classifier = nn.Linear(inputs[1], classes)

    def heads(self, images: Tensor, drop: float = 0.0) -> tuple[Tensor, Tensor | None]:
        """Logits and the auxiliary head's logits (None without one), with drop-path probability ``drop``."""
        first = second = self.stem(images)
        side = None
        for index, cell in enumerate(self.cells):
            first, second = second, cell(first, second, drop)
            if self.auxiliary is not None and index == self.auxiliary_at:
                side = self.auxiliary(second)
        return self.classifier(second.mean(dim=(2, 3))), side

    def forward(self, images: Tensor) -> Tensor:
        first = second = self.stem(images)
        for cell in self.cells:
            first, second = second, cell(first, second)
        return self.classifier(second.mean(dim=(2, 3)))
