"""The DARTS space of convolutional cells, and what S1-S4 share with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch

from poise.errors import Refused, unknown
from poise.genotype import Genotype
from poise.notations import call
from poise.spaces.cell_network import STEMS, CellNetwork, live_edges, reductions
from poise.spaces.cells import EDGES, NODES, CellSupernet, cell_groups, edge_rows
from poise.spaces.everything import Everything
from poise.spaces.partial import check_partial
from poise.spaces.space import SPACES, ImageShape, check_choices, check_positive
from poise.supernet.groups import ChoiceGroup, searchable

CANDIDATES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "space": {"channels": 4, "cells": 4},
        "search": {"epochs": 6, "batch_size": 64, "alphas": {"learning_rate": 3e-3}},
        "train": {"channels": 12, "cells": 5, "epochs": 30, "batch_size": 64, "drop_path": 0.05, "auxiliary": 0.0},
    },
    "small": {
        "space": {"channels": 8, "cells": 5},
        "search": {
            "epochs": 12,
            "batch_size": 64,
            "max_size": 16,
            "images_per_half": 6400,
            "alphas": {"learning_rate": 1e-3},
        },
        "train": {"channels": 16, "cells": 8, "epochs": 30, "batch_size": 96, "drop_path": 0.1, "auxiliary": 0.4},
    },
    "paper": {
        "space": {"channels": 16, "cells": 8},
        "search": {"epochs": 50, "batch_size": 64},
        "train": {
            "channels": 36,
            "cells": 20,
            "epochs": 600,
            "batch_size": 96,
            "drop_path": 0.2,
            "auxiliary": 0.4,
            "crop_padding": 4,
            "flip": True,
            "cutout": 16,
        },
    },
    "imagenet": {
        "data": {"streaming": True, "size": 224},
        "space": {"channels": 16, "cells": 8},
        "search": {"epochs": 50, "batch_size": 64},
        "train": {
            "form": "imagenet",
            "channels": 48,
            "cells": 14,
            "epochs": 250,
            "batch_size": 1024,
            "drop_path": 0.0,
            "auxiliary": 0.4,
            "label_smoothing": 0.1,
            "flip": True,
            "colour_jitter": 0.4,
            "schedule": "linear",
            "warm_up": 5,
            "weights": {"learning_rate": 0.5, "weight_decay": 3e-5},
        },
    },
}


@dataclass(frozen=True)
class CellSpace:
    """What the DARTS space and S1-S4 share: two cell types, 14 edges each, two inputs kept per node.

    Args:
        channels: channels of the supernet's first cells.
        cells: cells of the supernet; two of them reduce.
        partial: K, of partial channels (PC-DARTS), see `poise.spaces.partial`; 1: none.
    """

    channels: int = 16
    cells: int = 8
    partial: int = 1

    name: ClassVar[str]
    dense: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    forms: ClassVar[tuple[str, ...]] = tuple(STEMS)

    def __post_init__(self) -> None:
        _check_size(self.channels, self.cells)
        check_partial(self.channels, self.partial)

    def edge_candidates(self) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]:
        """For normal and for reduction cells: the candidates of each of the 14 edges."""
        raise NotImplementedError

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """``normal`` and ``reduce``, with 14 rows each; with partial channels also ``normal.2`` to ``reduce.5``, the
        weights of the edges into each node."""
        normal, reduce = (edge_rows(kind) for kind in self.edge_candidates())
        return cell_groups(normal, reduce, self.cells, self.partial)

    def deeper(self, more: int) -> Self:
        """This space with so many cells more, for a later stage of a search (P-DARTS)."""
        return replace(self, cells=self.cells + more)

    def supernet(self, shape: ImageShape, groups: tuple[ChoiceGroup, ...] | None = None) -> CellSupernet:
        """The supernet of `channels` and `cells`."""
        return CellSupernet(groups or self.groups, shape, self.channels, self.cells, self.partial)

    def check(self, genotype: Genotype) -> None:
        """Any operations on any edges, as long as each cell computes something from its inputs."""
        check_choices(genotype, self.name, self.groups)
        for kind, rows in genotype.choices.items():
            if not live_edges(_lists(rows), NODES):
                raise Refused(f"the {kind} cell of the genotype computes nothing: no operation reads its inputs")

    def network(
        self,
        genotype: Genotype,
        shape: ImageShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
        form: str = "cifar",
    ) -> CellNetwork:
        """The discrete network to retrain; the published size is 36 channels and 20 cells, or 48 and 14 in the form
        for ImageNet."""
        self.check(genotype)
        rows = {kind: _lists(rows) for kind, rows in genotype.choices.items()}
        return _network(rows, shape, channels, cells, auxiliary, form)

    def everything(
        self, shape: ImageShape, *, channels: int | None = None, cells: int | None = None, form: str = "cifar"
    ) -> Everything:
        """A network that keeps every candidate, and where they are; for counting.

        Its costs are those of networks in which every node has an input. Where one has none (Fair DARTS's irregular
        cells) what would read it shrinks too: such a network costs less than the sum says.
        """
        groups = searchable(self.groups)
        rows = {
            group.name: {row.name: [n for n in row.candidates if n != "none"] for row in group.rows} for group in groups
        }
        with torch.device("meta"):
            network = _network(rows, shape, channels, cells, False, form)
        count = len(network.cells)
        places = {
            f"cells.{number}.edges.{row.name}.{name}": (group.name, index, column)
            for number in range(count)
            for group in groups
            if (group.name == "reduce") == (number in reductions(count))
            for index, row in enumerate(group.rows)
            for column, name in enumerate(row.candidates)
        }
        return Everything(network, places)

    def describe(self, genotype: Genotype) -> str:
        """The papers' text."""
        return call.write(genotype)


def _network(
    rows: dict[str, dict[str, list[str]]],
    shape: ImageShape,
    channels: int | None,
    cells: int | None,
    auxiliary: bool,
    form: str,
) -> CellNetwork:
    if form not in STEMS:
        raise unknown("form of a network", form, STEMS)
    published = {"cifar": (36, 20), "imagenet": (48, 14)}[form]
    channels = published[0] if channels is None else channels
    cells = published[1] if cells is None else cells
    _check_size(channels, cells)
    if channels == 1 and form == "imagenet":
        raise Refused("the form for ImageNet needs at least 2 channels: its stem begins with half of them")
    if auxiliary and shape.dense:
        raise Refused("a network that answers for every pixel has no auxiliary head; set train.auxiliary to 0")
    return CellNetwork(rows, shape.channels, shape.outputs, channels, cells, auxiliary, form=form, dense=shape.dense)


def _check_size(channels: int, cells: int) -> None:
    check_positive(channels=channels, cells=cells)
    if cells < 3:
        raise Refused(f"a cell network needs at least 3 cells (a normal one and two reductions), got {cells}")


def _lists(rows: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {row: list(names) for row, names in rows.items()}


@dataclass(frozen=True)
class SameEverywhere(CellSpace):
    """A space with the same candidates on every edge of both cells."""

    candidates: ClassVar[tuple[str, ...]]

    def edge_candidates(self) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]:
        return (self.candidates,) * len(EDGES), (self.candidates,) * len(EDGES)


@SPACES.add("darts")
@dataclass(frozen=True)
class Darts(SameEverywhere):
    """DARTS: 8 candidates on each of 14 edges of a normal and a reduction cell (Liu et al., arXiv:1806.09055)."""

    name: ClassVar[str] = "darts"
    candidates: ClassVar[tuple[str, ...]] = CANDIDATES
