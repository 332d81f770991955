"""Penalties on the relaxed alphas, added to the search loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poise.costs.costs import aims
from poise.errors import Refused
from poise.methods.slots import HasConflict, Penalty, Relaxed, Reports, fills, never_trained
from poise.supernet.groups import ChoiceGroup


@fills("penalty")
@dataclass(frozen=True)
class NoPenalty:
    """Zero."""

    kind: ClassVar[str] = "none"

    def __call__(self, relaxed: Relaxed) -> Tensor:
        return next(iter(relaxed.probabilities.values())).new_zeros(())


@fills("penalty")
@dataclass(frozen=True)
class ZeroOne:
    """Fair DARTS's zero-one loss pushes every weight to 0 or 1: ``−weight · 1/N · Σ_i (p_i − ½)²``.

    The sum runs over all N entries of all groups. ``norm="l1"`` is the paper's alternative, ``−weight · 1/N · Σ_i
    |p_i − ½|``.
    With the sigmoid relaxation ``p = σ(α)`` this is the published loss; with softmax it sharpens each row.

    Source: Chu et al., Fair DARTS (arXiv:1911.12126), eqs. 4-5; weight 10.
    """

    weight: float = 10.0
    norm: Literal["l2", "l1"] = "l2"
    kind: ClassVar[str] = "zero-one"

    def __post_init__(self) -> None:
        if self.norm not in ("l2", "l1"):
            raise Refused(f"the norm of the zero-one loss is l2 or l1, got {self.norm!r}")
        if not 0 <= self.weight < float("inf"):
            raise Refused(f"the weight of the zero-one loss must be at least 0, got {self.weight}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """It acts on alphas, so these must be trained."""
        return never_trained(method, epochs, "the zero-one loss acts on")

    def __call__(self, relaxed: Relaxed) -> Tensor:
        distance = torch.cat([values.flatten() for values in relaxed.probabilities.values()]) - 0.5
        return -self.weight * (distance.square() if self.norm == "l2" else distance.abs()).mean()


@dataclass(frozen=True)
class Sum:
    """Several penalties at once; they add up. In a configuration: a list."""

    terms: tuple[Penalty, ...]
    kind: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        if not self.terms:
            raise Refused("a sum of penalties needs at least one term; use penalty=none for no penalty")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """The first conflict of a term."""
        found = [term.conflict(method, groups, epochs) for term in self.terms if isinstance(term, HasConflict)]
        return next((reason for reason in found if reason), None)

    @property
    def aims(self) -> bool:
        """Whether a term does."""
        return any(aims(term) for term in self.terms)

    def report(self, relaxed: Relaxed) -> Mapping[str, Any]:
        """What the terms report."""
        found = [term.report(relaxed) for term in self.terms if isinstance(term, Reports)]
        return {name: value for report in found for name, value in report.items()}

    def __call__(self, relaxed: Relaxed) -> Tensor:
        return torch.stack([term(relaxed) for term in self.terms]).sum()
