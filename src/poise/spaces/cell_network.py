"""The discrete network of the DARTS cell spaces, lean and ready to retrain. Knows torch only: exports carry this code.

Modules have the names that they have in the supernet, so that weights can be carried over by name. A node without any
input is left out, with all that would read it: the cell's output has fewer channels (Fair DARTS's irregular cells).

A network has one of two forms, which differ in stem and auxiliary head: ``cifar`` keeps the size of the image,
``imagenet`` halves it three times before the first cell.

Source: Liu et al., DARTS (arXiv:1806.09055), section 3.1 and appendix A; Chu et al., Fair DARTS (arXiv:1911.12126). The
ImageNet form is that of the authors' released code: DARTS, section 3.3, says only that it follows NASNet's mobile
setting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.spaces.heads import head
from poise.spaces.operations import OPERATIONS, FactorizedReduce, ReluConvNorm, Skip


def reductions(cells: int) -> tuple[int, int]:
    """The indices of the reduction cells of a network of ``cells`` cells: at 1/3 and 2/3 of the depth."""
    return cells // 3, 2 * cells // 3


def ends(cells: int) -> tuple[int, int, int]:
    """The indices of the last cell of each resolution, the finest first."""
    first, second = reductions(cells)
    return first - 1, second - 1, cells - 1


def live_edges(rows: dict[str, list[str]], intermediate: int) -> dict[int, list[tuple[int, str, list[str]]]]:
    """Node -> its incoming ``(source, row name, operations)``, for the nodes that an input of the cell reaches."""
    live: dict[int, list[tuple[int, str, list[str]]]] = {0: [], 1: []}
    for node in range(2, 2 + intermediate):
        edges = [(source, f"{source}->{node}", rows.get(f"{source}->{node}", [])) for source in range(node)]
        edges = [edge for edge in edges if edge[2] and edge[0] in live]
        if edges:
            live[node] = edges
    return {node: edges for node, edges in live.items() if node > 1}


class Cell(nn.Module):
    """One cell: every live node is the sum of its operations' outputs; the live nodes are concatenated.

    ``paths`` is the number of operations that drop-path may drop: all but identities.
    """

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
        self.paths = sum(not is_identity(operation) for edge in self.edges.values() for operation in edge.children())

    def forward(self, first: Tensor, second: Tensor, kept: Tensor | None = None, draws: Any = None) -> Tensor:
        """``kept`` and ``draws`` as `CellNetwork.heads` has them."""
        states = {0: self.first(first), 1: self.second(second)}
        scales = [] if kept is None else list(kept.to(states[1].dtype))
        for node, edges in self.live.items():
            terms = []
            for source, row, _ in edges:
                for operation in self.edges[row].children():
                    given = (draws,) if getattr(operation, "stochastic", False) else ()
                    term = operation(states[source], *given)
                    terms.append(term * scales.pop(0) if scales and not is_identity(operation) else term)
            states[node] = sum(terms[1:], terms[0])
        return torch.cat([states[node] for node in self.live], dim=1)


def is_identity(operation: nn.Module) -> bool:
    """Whether an operation puts out what it is given."""
    return isinstance(operation, Skip) and isinstance(operation.reduce, nn.Identity)


def cifar_stem(image_channels: int, channels: int) -> tuple[nn.Module, nn.Module, int]:
    """A 3×3 convolution to three times the channels, at the image's size: both inputs of the first cell."""
    width = 3 * channels
    stem = nn.Sequential(nn.Conv2d(image_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
    return stem, nn.Identity(), width


def imagenet_stem(image_channels: int, channels: int) -> tuple[nn.Module, nn.Module, int]:
    """Three 3×3 convolutions of stride 2: the first cell's inputs have a quarter and an eighth of the image's side."""
    stem = nn.Sequential(
        nn.Conv2d(image_channels, channels // 2, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels // 2),
        ReluConvNorm(channels // 2, channels, 3, 2, affine=True),
    )
    return stem, ReluConvNorm(channels, channels, 3, 2, affine=True), channels


STEMS: dict[str, Callable[[int, int], tuple[nn.Module, nn.Module, int]]] = {
    "cifar": cifar_stem,
    "imagenet": imagenet_stem,
}
"""Form -> what makes ``(stem, from its output to the second input of the first cell, channels of both)``."""

HEADS: dict[str, tuple[int, int, bool]] = {
    "cifar": (8, 3, True),
    "imagenet": (7, 2, False),
}
"""Form -> side of the published feature map, stride of the pooling there, whether the last convolution is normalised
(the ImageNet networks of the papers were trained without)."""


class AuxiliaryHead(nn.Module):
    """A second classifier at two thirds of the depth, for training only: pooling to 2×2, two convolutions, linear.

    At the published feature size (``side``: 8 in the form for CIFAR, 7 in that for ImageNet) the pooling is the
    published one (5×5, with ``stride``); at any other size it is adaptive.
    """

    def __init__(self, channels: int, classes: int, side: int = 8, stride: int = 3, normalised: bool = True) -> None:
        super().__init__()
        self.published = (side, side)
        self.stride = stride
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768) if normalised else nn.Identity(),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        x = F.avg_pool2d(x, 5, self.stride) if x.shape[2:] == self.published else F.adaptive_avg_pool2d(x, 2)
        return self.classifier(self.features(x).flatten(1))


class CellNetwork(nn.Module):
    """Stem, cells (reduction cells at 1/3 and 2/3 of the depth), then a head: global average pooling and a linear
    classifier, or a dense one.

    Args:
        cell_rows: cell kind (``normal``, ``reduce``) -> row ``source->node`` -> operations on it.
        image_channels, classes: of the data.
        channels: channels of the first cells; they double at each reduction.
        cells: number of cells.
        auxiliary: whether `heads` has a second classifier.
        search: the supernet's form of every operation (for weights taken from a supernet), not the one to retrain.
        form: ``cifar`` or ``imagenet``.
        dense: whether it answers for every pixel, see `DenseHead`.

    ``paths`` is the number of operations that drop-path may drop. ``takes_draws`` and ``draws_nothing`` say whether
    there is noise in it.
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
        form: str = "cifar",
        dense: bool = False,
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
            "form": form,
            "dense": dense,
        }
        self.stem, self.second, stem_width = STEMS[form](image_channels, channels)
        inputs, width = (stem_width, stem_width), channels
        halve_first = not isinstance(self.second, nn.Identity)  # the first input of the first cell is the larger one
        self.cells = nn.ModuleList()
        self.ends = ends(cells)
        widths = []
        self.paths_of_cells: list[int] = []
        self.auxiliary_at = 2 * cells // 3 if auxiliary else None
        self.auxiliary: nn.Module | None = None
        for index in range(cells):
            reduction = index in reductions(cells)
            width = 2 * width if reduction else width
            cell = Cell(cell_rows["reduce" if reduction else "normal"], inputs, width, reduction, halve_first, search)
            self.cells.append(cell)
            self.paths_of_cells.append(cell.paths)
            inputs, halve_first = (inputs[1], cell.channels_out), reduction
            if index in self.ends:
                widths.append(cell.channels_out)
            if index == self.auxiliary_at:
                self.auxiliary = AuxiliaryHead(cell.channels_out, classes, *HEADS[form])
        self.classifier = head(widths, classes, dense)
        self.paths = sum(self.paths_of_cells)
        self.takes_draws = any(getattr(part, "stochastic", False) for part in self.modules())
        self.draws_nothing = not self.takes_draws

    def heads(self, images: Tensor, kept: Tensor | None = None, draws: Any = None) -> tuple[Tensor, Tensor | None]:
        """Logits and the auxiliary head's logits (None without one), with drop-path.

        Args:
            images: ``[batch, channels, height, width]``.
            kept: ``[paths, batch, 1, 1, 1]``, what each path of each image is multiplied by: 0 with probability p,
                where it is dropped, else 1/(1 − p). None: nothing is dropped.
            draws: what noise is drawn from; None: torch's own generators.
        """
        first = self.stem(images)
        second = self.second(first)
        maps, side = [], None
        parts = [None] * len(self.cells) if kept is None else torch.split(kept, self.paths_of_cells)
        for index, (cell, part) in enumerate(zip(self.cells, parts, strict=True)):
            first, second = second, cell(first, second, part, draws)
            if index in self.ends:
                maps.append(second)
            if self.auxiliary is not None and index == self.auxiliary_at:
                side = self.auxiliary(second)
        return self.classifier(maps, images.shape[2:]), side

    def maps(self, images: Tensor) -> list[Tensor]:
        """The last feature maps of each resolution, the finest first: what the classifier goes by is the last."""
        first = self.stem(images)
        second = self.second(first)
        maps = []
        for index, cell in enumerate(self.cells):
            first, second = second, cell(first, second)
            if index in self.ends:
                maps.append(second)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.maps(images), images.shape[2:])
