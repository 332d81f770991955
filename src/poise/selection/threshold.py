"""Selection by threshold, Fair DARTS's rule: what is near 1 stays, so a row can keep nothing or several candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from poise.errors import Refused
from poise.selection.rule import Trained, eligible, selects, strongest_rows
from poise.supernet.groups import ChoiceGroup, Kept, searchable


@selects()
@dataclass(frozen=True)
class Threshold:
    """Keep candidates whose weight is at least ``threshold``.

    ``form="sparse"``: the 2 strongest edges per node, on each its best candidate if it reaches the threshold.
    ``form="edge"``: every edge, at most its 2 best candidates that reach it.
    A row that must keep a candidate (`Choice` layers) or several (the inputs of a block in NAS-Bench-1Shot1) keeps its
    best in any case.

    Differs from the paper in one degenerate case: where so little reaches the threshold that a cell would compute
    nothing, the threshold is dropped for this selection, with a note, rather than returning no network.

    Source: Chu et al., Fair DARTS (arXiv:1911.12126), section 4.3; threshold 0.85.
    """

    threshold: float = 0.85
    form: Literal["sparse", "edge"] = "sparse"
    kind: ClassVar[str] = "threshold"
    measures: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.form not in ("sparse", "edge"):
            raise Refused(f"the form of the threshold selection is sparse or edge, got {self.form!r}")
        if not 0 <= self.threshold <= 1:
            raise Refused(f"the threshold must lie in [0, 1], got {self.threshold}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """The ``edge`` form needs rows that can keep two candidates; and alphas that were trained."""
        if not method.trains_alphas(epochs):
            return "the alphas are never trained, so no threshold tells them apart; use selection=perturbation"
        single = [group.name for group in groups if group.max_kept == 1]
        if self.form == "edge" and single:
            return f"form=edge keeps up to two candidates per row, but group {single[0]!r} allows one; use form=sparse"
        return None

    def __call__(self, trained: Trained) -> Kept:
        probabilities = trained.probabilities()
        kept = self._keep(trained.groups, probabilities)
        if not trained.valid(kept) or not all(any(rows) for rows in kept.values()):
            largest = max(float(values.max()) for values in probabilities.values())
            trained.note(
                f"so few weights reach the threshold {self.threshold} (largest: {largest:.2f}) that a cell would "
                "compute nothing; selected without threshold"
            )
            kept = replace(self, threshold=0.0)._keep(trained.groups, probabilities)
        return kept

    def _keep(self, groups: Sequence[ChoiceGroup], probabilities: Mapping[str, Tensor]) -> Kept:
        kept = {}
        for group in searchable(groups):
            values = probabilities[group.name]
            every = set(range(len(group.rows)))
            rows = every if self.form == "edge" else strongest_rows(group, groups, probabilities)
            kept[group.name] = tuple(
                self._row(group, row, values[row].tolist()) if row in rows else () for row in range(len(group.rows))
            )
        return kept

    def _row(self, group: ChoiceGroup, row: int, weights: list[float]) -> tuple[int, ...]:
        best = sorted(eligible(group, row), key=lambda candidate: -weights[candidate])
        best = best[: max(group.min_kept, 2 if self.form == "edge" else 1)]
        reached = sum(weights[candidate] >= self.threshold for candidate in best)
        return tuple(best[: max(reached, group.min_kept)])
