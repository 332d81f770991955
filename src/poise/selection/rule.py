"""What a selection rule is: a trained supernet in, a discrete choice out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from poise import registries
from poise.costs.costs import Aim
from poise.costs.costs import eligible as eligible  # rules ask for it here
from poise.registry import C, Registry
from poise.selection.edits import Edits
from poise.selection.race import Survivors
from poise.supernet.groups import ChoiceGroup, Kept, row_weights, searchable

SELECTIONS: Registry[type] = registries.SELECTIONS

TuneSchedule = Literal["constant", "cosine"]
"""How the learning rate of the weights goes while a selection tunes the supernet."""


@dataclass(frozen=True)
class Score:
    """How well a supernet does on the search half.

    Args:
        quality: the metric, negative where lower is better: higher is always better here.
        loss: the mean.
    """

    quality: float
    loss: float


@dataclass(frozen=True)
class Decision:
    """What a rule that measures has decided, and what it went by.

    Args:
        group, row: where; of edges the node, such as ``node 3``.
        of: what was compared: each ``operation`` of a row, or each ``edge`` into a node.
        removed: what was taken out in turn -> the supernet's score without it; None: it was given up early.
        kept: what stays; of edges what went.
    """

    group: str
    row: str
    of: Literal["operation", "edge"]
    removed: Mapping[str, Score | None]
    kept: tuple[str, ...]


class Trained(Protocol):
    """A trained supernet, as a rule sees it. Rules that need no data never touch any."""

    generator: torch.Generator

    @property
    def aim(self) -> Aim | None:
        """What the network should cost and what networks do, if the search has a target. A rule that goes by it says so
        by a class attribute ``aims = True``."""
        ...

    @property
    def groups(self) -> Sequence[ChoiceGroup]:
        """The groups to decide."""
        ...

    def probabilities(self) -> Mapping[str, Tensor]:
        """The relaxed alphas, group -> ``[rows, candidates]``."""
        ...

    def valid(self, kept: Kept) -> bool:
        """Whether the space accepts this choice."""
        ...

    def compare(
        self, edits: Sequence[Edits], keep: Survivors | None = None, metric: str | None = None
    ) -> list[Score | None]:
        """The supernet with each of these edits on the search half, with batch statistics; nothing is updated.

        ``metric`` is the task's metric of that name; None: the one that counts.

        All see the same batches with the same random numbers. After every batch but the last ``keep`` says who stays:
        who goes gets None, and if only one is left it has won, with the score of the images so far. All other scores,
        and without ``keep`` all scores, are those of the whole half; so they are where the metric is not the share of
        predictions that are right, so that nothing can be said before the end.
        """
        ...

    def tune(self, edits: Edits, epochs: int, done: int, total: int, schedule: TuneSchedule = "constant") -> None:
        """Train weights and undecided alphas for ``epochs`` epochs; ``done`` of ``total`` tuning epochs lie behind.

        SGD is restarted, once, at a tenth of the search's learning rate; Adam keeps its state. ``schedule``: the rate
        stays there, or follows a cosine over ``total`` to the rate that the search ended with.
        """
        ...

    def note(self, message: str) -> None:
        """Tell the person who waits something that they should know."""
        ...

    def decided(self, decision: Decision) -> None:
        """Hear of a decision, so that people can see what it went by."""
        ...


@runtime_checkable
class Selection(Protocol):
    """A rule: a frozen dataclass whose fields are its settings."""

    kind: ClassVar[str]

    def __call__(self, trained: Trained) -> Kept: ...


@runtime_checkable
class GoesByMetrics(Protocol):
    """A rule that asks for a metric says before anything is read whether there is one."""

    def check_metrics(self, metrics: Sequence[str], decides: bool) -> None:
        """Raise `Refused` unless it can go by these, of which the first one counts; ``decides``: that is the share of
        predictions that are right."""
        ...


def measures(rule: Selection | type) -> bool:
    """Whether a rule measures the supernet on data; all do but those that say ``measures = False``."""
    return bool(getattr(rule, "measures", True))


def selects() -> Callable[[C], C]:
    """Register a class as a selection rule under its ``kind``."""
    return SELECTIONS.by_kind()


def strongest_rows(group: ChoiceGroup, groups: Sequence[ChoiceGroup], probabilities: Mapping[str, Tensor]) -> set[int]:
    """The rows that a cell keeps by strength: per node the ``inputs`` with the largest eligible weight; else every row.

    Where a group scales the rows, their strength is scaled too: ``β_e · max_o p[e, o]`` (PC-DARTS). Equal strengths:
    the earlier row wins, as in the papers' code.
    """
    if group.inputs is None:
        return set(range(len(group.rows)))
    values = probabilities[group.name]
    weights = row_weights(group, groups, probabilities)
    scale = [1.0] * len(group.rows) if weights is None else weights.tolist()
    strength = [scale[row] * float(values[row, eligible(group, row)].max()) for row in range(len(group.rows))]
    kept: set[int] = set()
    for rows in group.nodes:
        kept.update(sorted(rows, key=lambda row: -strength[row])[: group.inputs])
    return kept


def with_few_skips(trained: Trained, most: int | None, choose: Callable[[Mapping[str, Tensor]], Kept]) -> Kept:
    """What is chosen by the relaxed alphas, with at most so many skip connections in a cell; None: any number.

    While a cell keeps more of them the weight of its weakest becomes 0, and it is chosen again. Where nothing else is
    left to keep there stay more, which is noted. Only layers that play the same part have the limit.
    """
    if most is None:
        return choose(trained.probabilities())
    groups, values = trained.groups, {name: p.clone() for name, p in trained.probabilities().items()}
    limited = [group for group in searchable(groups) if group.aligned]
    kept = choose(values)
    while (weakest := _weakest_skip(limited, groups, values, kept, most)) is not None:
        name, place = weakest
        values[name][place] = 0
        kept = choose(values)
    for group in limited:
        left = len(_skips_kept(group, kept))
        if left > most:
            trained.note(f"{group.name} keeps {left} skip connections, for want of anything else")
    return kept


def _skips_kept(group: ChoiceGroup, kept: Kept) -> list[tuple[int, int]]:
    """The (row, candidate) of every skip connection that a group keeps."""
    places = ((row, index) for row, indices in enumerate(kept[group.name]) for index in indices)
    return [(row, index) for row, index in places if group.rows[row].candidates[index] == "skip_connect"]


def _weakest_skip(
    limited: Sequence[ChoiceGroup], groups: Sequence[ChoiceGroup], values: Mapping[str, Tensor], kept: Kept, most: int
) -> tuple[str, tuple[int, int]] | None:
    """Of the first group that keeps more than ``most`` skip connections the weakest, to be forbidden next; None if
    there is none, or all of them are kept for want of anything else: with a weight of 0."""
    for group in limited:
        own, weights = values[group.name], row_weights(group, groups, values)
        skips = _skips_kept(group, kept)
        weak = [place for place in skips if own[place] > 0]
        if len(skips) > most and weak:
            scale = own.new_ones(len(group.rows)) if weights is None else weights
            return group.name, min(weak, key=lambda place: float(own[place] * scale[place[0]]))
    return None
