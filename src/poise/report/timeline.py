"""A search epoch by epoch: the mixture after each, and what would have been taken then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from poise.genotype import Genotype
from poise.report.graph import is_cell
from poise.report.pictures import Picture, chips, picture
from poise.supernet.groups import ChoiceGroup, Kept

MOST = 60
"""Moments that are shown; of more, so many, evenly apart."""


@dataclass(frozen=True)
class Moment:
    """Where a search stands.

    Args:
        label: such as ``epoch 3``.
        mixture: group -> ``[rows, candidates]``.
        genotype: what would be taken; ``kept``: the same by index.
    """

    label: str
    mixture: Mapping[str, Tensor]
    genotype: Genotype
    kept: Kept


@dataclass(frozen=True)
class Heat:
    """A candidate's weight in percent, as a cell of a table."""

    name: str
    percent: int
    kept: bool


@dataclass(frozen=True)
class HeatTable:
    """A group's mixture. ``head``: the candidates, where all rows have the same."""

    group: str
    head: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Heat]]]


@dataclass(frozen=True)
class Timeline:
    """Moments of a search over groups that a genotype decides; the last one is shown where no script runs.

    Args:
        groups: what the genotype decides.
        moments: at least one.
        note: by what the genotype of a moment is taken.
    """

    groups: Sequence[ChoiceGroup]
    moments: Sequence[Moment]
    note: str = ""
    kind: ClassVar[str] = "timeline"

    @property
    def cells(self) -> Sequence[Picture]:
        """The last moment's cells."""
        return [picture(self.moments[-1].genotype, group) for group in self.groups if is_cell(group)]

    @property
    def choices(self) -> Sequence[tuple[str, Sequence[tuple[str, bool]]]]:
        """The last moment's other choices, where there are cells beside them: else the tables say it."""
        return chips(self.moments[-1].genotype, self.groups) if self.cells else ()

    @property
    def tables(self) -> Sequence[HeatTable]:
        """The last moment's mixture."""
        last, found = self.moments[-1], []
        for group in self.groups:
            shared = len({row.candidates for row in group.rows}) == 1
            values = _percent(last.mixture[group.name])
            rows = [
                (
                    row.name,
                    [
                        Heat(name, percent, index in kept)
                        for index, (name, percent) in enumerate(zip(row.candidates, own, strict=True))
                    ],
                )
                for row, own, kept in zip(group.rows, values, last.kept[group.name], strict=True)
            ]
            found.append(HeatTable(group.name, group.rows[0].candidates if shared else (), rows))
        return found

    @property
    def drawn(self) -> tuple[Sequence[Picture], Sequence[Mapping[str, Any]]]:
        """Every cell that occurs, once; and for a script every moment: its label, the mixture in percent and what is
        kept (per group, row by row), and which cells these are."""
        numbers: dict[tuple[str, str], int] = {}
        pictures: list[Picture] = []
        told = []
        for moment in self.moments:
            cells = []
            for group in self.groups:
                if is_cell(group):
                    key = group.name, str(moment.kept[group.name])
                    if key not in numbers:
                        numbers[key] = len(pictures)
                        pictures.append(picture(moment.genotype, group))
                    cells.append(numbers[key])
            told.append(
                {
                    "label": moment.label,
                    "mixture": [
                        [n for row in _percent(moment.mixture[group.name]) for n in row] for group in self.groups
                    ],
                    "kept": [_flat(moment.kept[group.name], group) for group in self.groups],
                    "cells": cells,
                }
            )
        return pictures, told


def chosen_moments(count: int, most: int = MOST) -> list[int]:
    """Which of so many moments are shown: all, or evenly many of them, the first and the last included."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def _percent(values: Tensor) -> list[list[int]]:
    found: list[list[int]] = (100 * values.detach().double()).round().int().tolist()
    return found


def _flat(kept: Sequence[Sequence[int]], group: ChoiceGroup) -> list[int]:
    """The places of what is kept, counted through the rows."""
    columns = group.shape[1]
    return [row * columns + index for row, indices in enumerate(kept) for index in indices]
