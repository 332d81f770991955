"""Selection by magnitude, DARTS's rule: the largest weights win."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from poise.selection.rule import Trained, eligible, selects, strongest_rows
from poise.supernet.groups import ChoiceGroup, Kept, decided


@selects()
@dataclass(frozen=True)
class Magnitude:
    """Per node keep the 2 incoming edges with the largest ``max_{o≠none} p[e, o]``; on each, the largest ``o ≠ none``.

    Where rows are choices of their own (NAS-Bench-201, `Choice` layers) every row keeps its largest candidate, ``none``
    included. A row that must keep several (the inputs of a block in NAS-Bench-1Shot1) keeps so many, the largest ones.
    Equal weights: the first wins.

    Source: Liu et al., DARTS (arXiv:1806.09055), section 2.4.
    """

    kind: ClassVar[str] = "magnitude"
    measures: ClassVar[bool] = False

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """Alphas that were never trained have no magnitude to go by."""
        if method.trains_alphas(epochs):
            return None
        return "the alphas are never trained, so their magnitude says nothing; use selection=perturbation"

    def __call__(self, trained: Trained) -> Kept:
        probabilities = trained.probabilities()
        kept = {}
        for group in decided(trained.groups):
            values = probabilities[group.name]
            rows = strongest_rows(group, trained.groups, probabilities)
            kept[group.name] = tuple(
                largest(group, row, values[row].tolist()) if row in rows else () for row in range(len(group.rows))
            )
        return kept


def largest(group: ChoiceGroup, row: int, weights: Sequence[float]) -> tuple[int, ...]:
    """The eligible candidates with the largest weights, as many as the row must keep, at least one."""
    order = sorted(eligible(group, row), key=lambda candidate: -weights[candidate])
    return tuple(sorted(order[: max(1, group.least)]))
