"""NAS-Bench-201: a cell of 4 nodes and 6 edges, 5 candidates each, whose 15,625 networks have all been trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.errors import Refused
from poise.genotype import Genotype
from poise.notations import edges
from poise.spaces.everything import Everything
from poise.spaces.heads import head
from poise.spaces.nasbench201_network import NasBench201Network, ResidualReduction
from poise.spaces.operations import NASBENCH201_OPERATIONS
from poise.spaces.partial import MixedEdges, check_partial, edge_groups
from poise.spaces.random_numbers import only_given
from poise.spaces.space import SPACES, ImageShape, check_choices, check_positive
from poise.supernet.draws import Chance
from poise.supernet.groups import ChoiceGroup, Mixture, Row, row_weights, searchable

EDGES = tuple((source, target) for target in range(1, 4) for source in range(target))
"""The 6 edges in the benchmark's order: 0->1, 0->2, 1->2, 0->3, 1->3, 2->3."""

INCOMING = tuple(tuple(row for row, (_, end) in enumerate(EDGES) if end == node) for node in range(1, 4))
"""For every node but the first the rows that enter it."""

CANDIDATES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "space": {"channels": 4, "cells": 1},
        "search": {"epochs": 6, "batch_size": 64, "alphas": {"learning_rate": 2e-3}},
        "train": {"channels": 8, "cells": 1, "epochs": 30, "batch_size": 64, "drop_path": 0.0, "auxiliary": 0.0},
    },
    "small": {
        "space": {"channels": 4, "cells": 4},
        "search": {
            "epochs": 12,
            "batch_size": 64,
            "max_size": 16,
            "images_per_half": 6400,
            "alphas": {"learning_rate": 2e-3},
            "weights": {"weight_decay": 5e-4, "nesterov": True},
        },
        "train": {"channels": 16, "cells": 2, "epochs": 30, "batch_size": 96, "drop_path": 0.0, "auxiliary": 0.0},
    },
    "paper": {
        "space": {"channels": 16, "cells": 5},
        "search": {"epochs": 50, "batch_size": 64, "weights": {"weight_decay": 5e-4, "nesterov": True}},
        "train": {
            "channels": 16,
            "cells": 5,
            "epochs": 200,
            "batch_size": 256,
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "crop_padding": 4,
            "flip": True,
            "weights": {"learning_rate": 0.1, "nesterov": True, "weight_decay": 5e-4},
        },
    },
}


class MixedCell(MixedEdges):
    """The benchmark's cell with a mixture on every edge."""

    def __init__(self, rows: Sequence[Row], channels: int, partial: int = 1) -> None:
        super().__init__(channels, partial)
        self.edges = nn.ModuleDict(
            {
                row.name: nn.ModuleDict(
                    {name: NASBENCH201_OPERATIONS[name](self.mixed, 1, True) for name in row.candidates}
                )
                for row in rows
            }
        )

    def forward(
        self,
        x: Tensor,
        mixture: Tensor,
        weights: Tensor | None = None,
        skip_dropout: float = 0.0,
        chance: Chance | None = None,
    ) -> Tensor:
        """``mixture [rows, candidates]`` and the edges' ``weights [rows]`` are this layer's own; ``skip_dropout`` and
        ``chance`` are those of `Source`."""
        return self.nodes([x], 1, mixture, weights, skip_dropout, chance)[-1]


class NasBench201Supernet(nn.Module):
    """Three stages of mixed cells joined by residual reductions; the network's macro structure is the benchmark's
    own."""

    def __init__(
        self, groups: tuple[ChoiceGroup, ...], shape: ImageShape, channels: int, cells: int, partial: int = 1
    ) -> None:
        super().__init__()
        self.groups = groups
        group = groups[0]
        self.stem = nn.Sequential(
            nn.Conv2d(shape.channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.cells = nn.ModuleList()
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                self.cells.append(ResidualReduction(width // 2, width))
            self.cells.extend(MixedCell(group.rows, width, partial) for _ in range(cells))
        self.norm = nn.BatchNorm2d(4 * channels)
        self.classifier = head((channels, 2 * channels, 4 * channels), shape.outputs, shape.dense)
        self.takes_draws = only_given(self)

    def forward(
        self, images: Tensor, mixture: Mixture, skip_dropout: float = 0.0, draws: Chance | None = None
    ) -> Tensor:
        x = self.stem(images)
        group = self.groups[0]
        weights = row_weights(group, self.groups, mixture)
        layers = iter(zip(mixture[group.name], repeat(None) if weights is None else weights, strict=False))
        maps = []
        for cell in self.cells:
            if isinstance(cell, ResidualReduction):
                maps.append(x)
            x = cell(x, *next(layers), skip_dropout, draws) if isinstance(cell, MixedCell) else cell(x)
        logits: Tensor = self.classifier([*maps, F.relu(self.norm(x))], images.shape[2:])
        return logits


@SPACES.add("nasbench201")
@dataclass(frozen=True)
class NasBench201:
    """NAS-Bench-201: 5 candidates on each of 6 edges of one cell (Dong and Yang, arXiv:2001.00326).

    Args:
        channels: channels of the supernet's first stage.
        cells: cells per stage (N); the published search uses 16 channels and N = 5.
        partial: K, of partial channels (PC-DARTS), see `poise.spaces.partial`; 1: none.
    """

    channels: int = 16
    cells: int = 5
    partial: int = 1

    name: ClassVar[str] = "nasbench201"
    dense: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __post_init__(self) -> None:
        check_positive(channels=self.channels, cells=self.cells)
        check_partial(self.channels, self.partial)

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """One group ``cell`` of 6 rows, shared by all 3·N cells; with partial channels also ``cell.2`` and ``cell.3``,
        the weights of the edges into these nodes."""
        rows = tuple(Row(f"{source}->{target}", CANDIDATES) for source, target in EDGES)
        group = ChoiceGroup("cell", 3 * self.cells, rows, max_kept=1)
        return (group,) if self.partial == 1 else (group, *edge_groups(group, INCOMING))

    def deeper(self, more: int) -> Self:
        """This space with so many cells more per stage of the network, for a later stage of a search (P-DARTS)."""
        return replace(self, cells=self.cells + more)

    def supernet(self, shape: ImageShape, groups: tuple[ChoiceGroup, ...] | None = None) -> NasBench201Supernet:
        """The supernet of `channels` and `cells`."""
        return NasBench201Supernet(groups or self.groups, shape, self.channels, self.cells, self.partial)

    def check(self, genotype: Genotype) -> None:
        """At most one operation per edge; an edge left out is ``none``."""
        check_choices(genotype, self.name, self.groups)

    def doubt(self, genotype: Genotype) -> str | None:
        """The benchmark has cells whose output does not depend on their input; methods find them by ``none``."""
        reached = {0}
        for source, target in EDGES:  # in the order of their targets
            if source in reached and genotype.choices["cell"].get(f"{source}->{target}"):
                reached.add(target)
        if 3 in reached:
            return None
        return "no path leads through the cell that was found, so its network cannot learn; try --set without=[none]"

    def network(
        self,
        genotype: Genotype,
        shape: ImageShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
    ) -> NasBench201Network:
        """The benchmark's network at ``channels`` and ``cells`` per stage (published: 16 and 5)."""
        self.check(genotype)
        if auxiliary:
            raise Refused("NAS-Bench-201's networks have no auxiliary head; set train.auxiliary to 0")
        rows = {row: list(names) for row, names in genotype.choices["cell"].items()}
        return _network(rows, shape, channels, cells)

    def everything(self, shape: ImageShape, *, channels: int | None = None, cells: int | None = None) -> Everything:
        """A network that keeps every candidate, and where they are; for counting."""
        (group,) = searchable(self.groups)
        rows = {row.name: [name for name in row.candidates if name != "none"] for row in group.rows}
        with torch.device("meta"):
            network = _network(rows, shape, channels, cells)
        places = {
            f"cells.{number}.edges.{row.name}.{name}": (group.name, index, column)
            for number in range(len(network.cells))
            for index, row in enumerate(group.rows)
            for column, name in enumerate(row.candidates)
        }
        return Everything(network, places)

    def describe(self, genotype: Genotype) -> str:
        """The benchmark's string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
        return edges.write(genotype)


def _network(
    rows: dict[str, list[str]], shape: ImageShape, channels: int | None, cells: int | None
) -> NasBench201Network:
    channels = 16 if channels is None else channels
    cells = 5 if cells is None else cells
    check_positive(channels=channels, cells=cells)
    return NasBench201Network(rows, shape.channels, shape.outputs, channels, cells, dense=shape.dense)
