"""Selection by magnitude, DARTS's rule: the largest weights win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from poise.errors import Refused
from poise.selection.rule import Trained, eligible, selects, strongest_rows, with_few_skips
from poise.supernet.groups import ChoiceGroup, Kept, searchable


@selects()
@dataclass(frozen=True)
class Magnitude:
    """Per node keep the 2 incoming edges with the largest ``max_{o≠none} p[e, o]``; on each, the largest ``o ≠ none``.

    Where rows are choices of their own (NAS-Bench-201, `Choice` layers) every row keeps its largest candidate, ``none``
    included. A row that must keep several (the inputs of a block in NAS-Bench-1Shot1) keeps so many, the largest ones.
    Equal weights: the first wins.

    With ``skips`` at most so many skip connections are kept (P-DARTS): while there are more, the weight of the weakest
    that was kept becomes 0, and the cell is derived again. Where nothing else is left to keep there stay more, which is
    noted. As in P-DARTS's released code this is for layers that play the same part: not for reduction cells.

    Source: Liu et al., DARTS (arXiv:1806.09055), section 2.4; Chen et al., P-DARTS (arXiv:1904.12760), section 3.4.

    Args:
        skips: the most skip connections in a cell, at least 0; None: any number.
    """

    skips: int | None = None
    kind: ClassVar[str] = "magnitude"
    measures: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.skips is not None and self.skips < 0:
            raise Refused(f"the most skip connections of a cell are at least 0, got {self.skips}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """Alphas that were never trained have no magnitude to go by."""
        if method.trains_alphas(epochs):
            return None
        return "the alphas are never trained, so their magnitude says nothing; use selection=perturbation"

    def __call__(self, trained: Trained) -> Kept:
        return with_few_skips(trained, self.skips, partial(by_magnitude, trained.groups))


def by_magnitude(groups: Sequence[ChoiceGroup], probabilities: Mapping[str, Tensor]) -> Kept:
    """What `Magnitude` keeps of relaxed alphas, group -> ``[rows, candidates]``, without a limit of skips."""
    return {group.name: _derived(group, groups, probabilities) for group in searchable(groups)}


def _derived(
    group: ChoiceGroup, groups: Sequence[ChoiceGroup], probabilities: Mapping[str, Tensor]
) -> tuple[tuple[int, ...], ...]:
    rows = strongest_rows(group, groups, probabilities)
    own = probabilities[group.name].tolist()
    return tuple(_largest(group, row, own[row]) if row in rows else () for row in range(len(group.rows)))


def _largest(group: ChoiceGroup, row: int, weights: Sequence[float]) -> tuple[int, ...]:
    """The eligible candidates with the largest weights, as many as the row must keep, at least one."""
    order = sorted(eligible(group, row), key=lambda candidate: -weights[candidate])
    return tuple(sorted(order[: max(1, group.min_kept)]))
