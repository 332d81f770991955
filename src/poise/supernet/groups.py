"""Groups of choices, and the mixture that says how much of each candidate is used.

A group holds rows (a row is one choice: an edge of a cell, a `Choice` layer) of candidates, and is used by one or more
layers. Architecture parameters have the shape ``[rows, candidates]``; a mixture has one copy per layer,
``[layers, rows, candidates]``, where layers that share parameters get the same values by `expand`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from poise.errors import Refused

Alphas = Mapping[str, Tensor]
"""Architecture parameters: group -> ``[rows, candidates]``."""

Mixture = Mapping[str, Tensor]
"""How much of each candidate every layer uses: group -> ``[layers, rows, candidates]``."""

Kept = Mapping[str, tuple[tuple[int, ...], ...]]
"""A discrete choice: group -> for every row the indices of the candidates that it keeps."""

Narrowing = Mapping[str, Mapping[str, tuple[str, ...]]]
"""What a search still chooses from: group -> row -> candidates, by name. Empty: from everything."""


@dataclass(frozen=True)
class Row:
    """One choice: its name, the names of its candidates, and of those that an earlier stage of the search dropped."""

    name: str
    candidates: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChoiceGroup:
    """Choices whose parameters are one tensor ``[rows, candidates]``, used by ``layers`` layers.

    Args:
        name: the group's name in genotypes, alphas and mixtures.
        layers: how many layers use these parameters, each with a mixture of its own.
        rows: the choices; all have the same number of candidates.
        nodes: for every node of a cell the rows that enter it; empty where rows are independent choices.
        inputs: how many of a node's incoming rows a cell keeps (DARTS: 2); None where every row is kept.
        min_kept, max_kept: how many candidates a row of a genotype may keep; ``max_kept`` None means any number.
        aligned: whether these layers play the same part, so that aligning their gradients makes sense.
        scales: a group and some of its rows, whose weights the candidates of this one row multiply: how much each edge
            into a node counts. No genotype names such a group. None: an ordinary group.
        joined: how a cell's output is made of its nodes, such as ``mean``, for drawings. None: a cell of several inputs
            concatenates them, and in one of a single input the last node is the output.
        whole: why no candidate can be left out, as a person is told who asks for it; None: candidates can.
    """

    name: str
    layers: int
    rows: tuple[Row, ...]
    nodes: tuple[tuple[int, ...], ...] = ()
    inputs: int | None = None
    min_kept: int = 0
    max_kept: int | None = None
    aligned: bool = True
    scales: tuple[str, tuple[int, ...]] | None = None
    joined: str | None = None
    whole: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        sizes = {len(row.candidates) for row in self.rows}
        if len(sizes) != 1 or 0 in sizes:
            raise Refused(f"the rows of group {self.name!r} must have the same number of candidates (at least 1)")

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, candidates)``: the shape of this group's alphas."""
        return len(self.rows), len(self.rows[0].candidates)


def searchable(groups: Sequence[ChoiceGroup]) -> tuple[ChoiceGroup, ...]:
    """The groups that a genotype decides: all but those that only scale others."""
    return tuple(group for group in groups if group.scales is None)


def row_weights(group: ChoiceGroup, groups: Sequence[ChoiceGroup], values: Mapping[str, Tensor]) -> Tensor | None:
    """How much each row of a group counts, ``[..., rows]``, by the groups that scale it; None where none does.

    Args:
        group: whose rows.
        groups: all of the space.
        values: group -> ``[..., rows, candidates]``.
    """
    scaling = [other for other in groups if other.scales is not None and other.scales[0] == group.name]
    if not scaling:
        return None
    one = torch.ones_like(values[scaling[0].name][..., 0, 0])
    found = [one] * len(group.rows)
    for other in scaling:
        if other.scales is not None:
            for row, weight in zip(other.scales[1], values[other.name][..., 0, :].unbind(dim=-1), strict=True):
                found[row] = weight
    return torch.stack(found, dim=-1)


def expand(probabilities: Mapping[str, Tensor], groups: Sequence[ChoiceGroup]) -> dict[str, Tensor]:
    """Give every layer its copy: ``[rows, candidates]`` -> ``[layers, rows, candidates]``, without copying memory."""
    return {group.name: probabilities[group.name].expand(group.layers, *group.shape) for group in groups}


def one_hot(kept: Kept, groups: Sequence[ChoiceGroup], like: Tensor | None = None) -> dict[str, Tensor]:
    """The mixture of a discrete choice: 1 for every kept candidate, 0 elsewhere; groups that scale others are 1."""
    rows = {}
    for group in groups:
        value = torch.zeros(group.shape) if like is None else like.new_zeros(group.shape)
        if group.scales is not None:
            value += 1
        for row, candidates in enumerate(kept.get(group.name, ())):
            value[row, list(candidates)] = 1
        rows[group.name] = value
    return expand(rows, groups)
