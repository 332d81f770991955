"""NAS-Bench-1Shot1: three spaces of cells of choice blocks, whose every architecture is a cell of NAS-Bench-101.

Besides the operation of every block its inputs and what the output reads are choices: each takes a fixed number of the
vertices before it, so that a cell never has more than the benchmark's 9 edges.

Sizes, as published with "loose ends": 6,240, 29,160 and 363,648. Counting all connections gives these numbers, but by
two rules. 6,240 and 363,648 are ``Σ 3^(blocks that anything reads)`` over the 180 and 5,400 connections of spaces 1 and
3; the same sum for space 2 is 16,632, and 29,160 is ``360 · 3⁴``: every operation of every block, read or not. What
truly differs, cells without the blocks that reach no output, is fewer: 3,288, 11,826 and 118,524, isomorphic ones still
counted apart; these have 2,685, 7,773 and 55,854 hashes.

Source: Zela, Siems, Hutter, NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot Neural Architecture Search (ICLR
2020, arXiv:2001.10422).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, ClassVar

from poise.errors import Refused
from poise.genotype import Genotype
from poise.notations import matrix
from poise.notations.matrix import OPERATIONS, OUTPUT, PARENTS, ROW, input_group
from poise.spaces.nasbench1shot1_supernet import NasBench1Shot1Supernet
from poise.spaces.nasbench101 import Cell
from poise.spaces.nasbench101_network import NasBench101Network
from poise.spaces.space import SPACES, ImageShape, check_choices, check_dense, check_positive
from poise.supernet.groups import ChoiceGroup, Row

CANDIDATES = ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "space": {"channels": 4, "cells": 3},
        "search": {"epochs": 6, "batch_size": 64, "alphas": {"learning_rate": 3e-3}},
        "train": {"channels": 8, "cells": 3, "epochs": 30, "batch_size": 64, "drop_path": 0.0, "auxiliary": 0.0},
    },
    "small": {
        "space": {"channels": 8, "cells": 6},
        "search": {
            "epochs": 12,
            "batch_size": 64,
            "max_size": 16,
            "images_per_half": 6400,
            "alphas": {"learning_rate": 1e-3},
        },
        "train": {"channels": 32, "cells": 6, "epochs": 30, "batch_size": 96, "drop_path": 0.0, "auxiliary": 0.0},
    },
    "paper": {
        "space": {"channels": 16, "cells": 9},
        "search": {"epochs": 50, "batch_size": 96},
        "train": {
            "channels": 128,
            "cells": 9,
            "epochs": 108,
            "batch_size": 256,
            "drop_path": 0.0,
            "auxiliary": 0.0,
            "crop_padding": 4,
            "flip": True,
            "weights": {"learning_rate": 0.1, "weight_decay": 1e-4},
        },
    },
}


@dataclass(frozen=True)
class NasBench1Shot1:
    """What the three spaces share: choice blocks of 3 candidates, each with a fixed number of inputs.

    Differs from the released code: the size is halved by 2×2 pooling without padding, as in the benchmark, where the
    code pads by 1 (32, 17, 9 pixels); and batch normalisation has torch's momentum 0.1, where the code hands torch the
    0.997 that TensorFlow counts the other way round.

    Args:
        channels: of the supernet's first cells; they double at 1/3 and 2/3 of the depth.
        cells: of the supernet; the published search uses 16 channels and 9 cells.
    """

    channels: int = 16
    cells: int = 9

    name: ClassVar[str]
    parents: ClassVar[tuple[int, ...]]
    """How many inputs each block and, last, the output takes."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __post_init__(self) -> None:
        _check_size(self.channels, self.cells)

    @property
    def blocks(self) -> int:
        """Choice blocks of a cell."""
        return len(self.parents) - 1

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """``operations``, a row for every block; ``input.k`` for every block k that has a choice of inputs, and
        ``output``: one row each, whose candidates are the earlier vertices (0 is the cell's input) and which keeps as
        many of them as the space says. All cells share them."""
        rows = tuple(Row(str(block), CANDIDATES) for block in range(1, self.blocks + 1))
        groups, whole = (
            [ChoiceGroup(OPERATIONS, self.cells, rows, min_kept=1, max_kept=1)],
            "the inputs of a block cannot be left out",
        )
        for vertex, count in enumerate(self.parents, start=1):
            if count < vertex:
                name = OUTPUT if vertex > self.blocks else input_group(vertex)
                row = Row(ROW, tuple(map(str, range(vertex))))
                groups.append(ChoiceGroup(name, self.cells, (row,), min_kept=count, max_kept=count, whole=whole))
        return tuple(groups)

    def supernet(self, shape: ImageShape, groups: tuple[ChoiceGroup, ...] | None = None) -> NasBench1Shot1Supernet:
        """The supernet of `channels` and `cells`."""
        check_dense(self, shape)
        return NasBench1Shot1Supernet(groups or self.groups, shape, self.channels, self.cells)

    def check(self, genotype: Genotype) -> None:
        """One operation per block, and as many inputs as the space says."""
        check_choices(genotype, self.name, self.groups)

    def cell(self, genotype: Genotype) -> Cell:
        """The cell of NAS-Bench-101 as it is chosen: with all blocks, those that reach no output too."""
        return Cell.parse(self.describe(genotype))

    def genotype(self, cell: Cell) -> Genotype:
        """The genotype of a cell with all blocks; the inverse of `cell`. Raises `Refused` if it is no such cell."""
        found = Genotype.parse(cell.text)
        self.check(found)
        return found

    def cells_of_benchmark(self) -> Iterator[Cell]:
        """All cells of this space, with all blocks: one for each that differs once it is pruned. Isomorphic ones still
        come apart."""
        seen = set()
        for chosen in product(*(combinations(range(vertex + 1), count) for vertex, count in enumerate(self.parents))):
            edges = frozenset((source, vertex) for vertex, sources in enumerate(chosen, start=1) for source in sources)
            alive = {self.blocks + 1}
            for vertex in range(self.blocks + 1, 0, -1):
                alive |= set(chosen[vertex - 1]) if vertex in alive else set()
            pruned = Cell(edges, CANDIDATES[:1] * self.blocks).pruned
            if pruned is None or pruned.edges in seen:
                continue
            seen.add(pruned.edges)
            free = [CANDIDATES if block in alive else CANDIDATES[:1] for block in range(1, self.blocks + 1)]
            for operations in product(*free):
                yield Cell(edges, operations)

    def network(
        self,
        genotype: Genotype,
        shape: ImageShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
    ) -> NasBench101Network:
        """NAS-Bench-101's network of the pruned cell, at ``channels`` (published: 128) and ``cells`` in all (9)."""
        check_dense(self, shape)
        cell = self.cell(genotype).pruned
        assert cell is not None
        channels = 128 if channels is None else channels
        cells = 9 if cells is None else cells
        _check_size(channels, cells)
        least = self.parents[-1]
        if channels < least:
            raise Refused(f"the output of a cell of {self.name} joins up to {least} vertices, so channels must be at "
                          f"least {least}, got {channels}")  # fmt: skip
        if auxiliary:
            raise Refused("NAS-Bench-101's networks have no auxiliary head; set train.auxiliary to 0")
        matrix = [[int((s, t) in cell.edges) for t in range(cell.vertices)] for s in range(cell.vertices)]
        return NasBench101Network(matrix, list(cell.operations), shape.channels, shape.outputs, channels, cells)

    def describe(self, genotype: Genotype) -> str:
        """As NAS-Bench-101 writes cells: the adjacency matrix row by row and, after a blank, all labels. Not pruned."""
        self.check(genotype)
        return matrix.write(genotype)


def _check_size(channels: int, cells: int) -> None:
    check_positive(channels=channels, cells=cells)
    if cells < 3:
        raise Refused(f"a network of NAS-Bench-1Shot1 needs at least 3 cells, one of each size, got {cells} cells")


@SPACES.add("nasbench1shot1-1")
@dataclass(frozen=True)
class NasBench1Shot1Space1(NasBench1Shot1):
    """Space 1 of NAS-Bench-1Shot1: 4 blocks; blocks 2 to 4 and the output take two inputs each (arXiv:2001.10422)."""

    name: ClassVar[str] = "nasbench1shot1-1"
    parents: ClassVar[tuple[int, ...]] = PARENTS[name]


@SPACES.add("nasbench1shot1-2")
@dataclass(frozen=True)
class NasBench1Shot1Space2(NasBench1Shot1):
    """Space 2 of NAS-Bench-1Shot1: 4 blocks, which take 1, 1, 2, 2 inputs, the output 3 (arXiv:2001.10422)."""

    name: ClassVar[str] = "nasbench1shot1-2"
    parents: ClassVar[tuple[int, ...]] = PARENTS[name]


@SPACES.add("nasbench1shot1-3")
@dataclass(frozen=True)
class NasBench1Shot1Space3(NasBench1Shot1):
    """Space 3 of NAS-Bench-1Shot1: 5 blocks, which take 1, 1, 1, 2, 2 inputs, the output 2 (arXiv:2001.10422)."""

    name: ClassVar[str] = "nasbench1shot1-3"
    parents: ClassVar[tuple[int, ...]] = PARENTS[name]
