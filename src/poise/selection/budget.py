"""Selection within a budget: the strongest candidates whose network costs what it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from poise.costs.costs import Costs, decisions, eligible, needed
from poise.costs.target import readable
from poise.errors import Refused
from poise.selection.rule import Trained, selects, with_few_skips
from poise.supernet.groups import ChoiceGroup, Kept, row_weights, searchable

BUCKETS = 4000
"""Steps of cost that the search for the best choice tells apart, up to the most that is allowed."""

Choice = tuple[tuple[int, int], ...]
"""What one decision keeps: (row, candidate) pairs."""


@selects()
@dataclass(frozen=True)
class Budget:
    """The choice with the largest ``Σ log p`` among those whose network costs between ``(1 − tolerance)·target`` and
    ``target``.

    Without a limit this is `Magnitude`'s choice: per node the ``inputs`` edges with the largest weights, on each the
    largest candidate; where rows are choices of their own the largest of each. With the limit it is a multiple-choice
    knapsack, solved by dynamic programming over the cost in ``BUCKETS`` steps: within a step the stronger choice
    survives, with its exact cost. Where no choice lies in the window, the one nearest to the target is taken, dearer or
    cheaper, with a note: by the same programme, once more over all that could be nearer than the nearest so far.

    The target is that of the search, ``search.target``.

    Args:
        tolerance: how far below the target the network may stay, as a share.
        skips: the most skip connections in a cell, as of `Magnitude`; None: any number.
    """

    tolerance: float = 0.1
    skips: int | None = None
    kind: ClassVar[str] = "budget"
    measures: ClassVar[bool] = False
    aims: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise Refused(f"the tolerance of the budget is a share, between 0 and 1, got {self.tolerance}")
        if self.skips is not None and self.skips < 0:
            raise Refused(f"the most skip connections of a cell are at least 0, got {self.skips}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """Alphas that were never trained have no magnitude to go by."""
        if method.trains_alphas(epochs):
            return None
        return "the alphas are never trained, so their magnitude says nothing; use selection=perturbation"

    def __call__(self, trained: Trained) -> Kept:
        aim = needed(trained.aim, self)
        target, metric = aim.target.value, aim.target.metric
        kept = with_few_skips(
            trained, self.skips, lambda values: within(trained.groups, values, aim.costs, target, self.tolerance)
        )
        cost = aim.costs.of(kept)
        if not (1 - self.tolerance) * target <= cost <= target:
            trained.note(
                f"no choice found within {self.tolerance:.0%} below the target {readable(metric, target)}; "
                f"the nearest has {readable(metric, cost)}"
            )
        return kept


@dataclass(frozen=True)
class Decision:
    """Choices of which one is made: what they keep in ``group``, their ``Σ log p`` and their costs ``[choices]``."""

    group: str
    choices: list[Choice]
    strengths: np.ndarray
    costs: np.ndarray


def within(
    groups: Sequence[ChoiceGroup], probabilities: Mapping[str, Tensor], costs: Costs, target: float, tolerance: float
) -> Kept:
    """The strongest choice in the window, or the one nearest to the target; see `Budget`."""
    found = _decisions(groups, probabilities, costs)
    picked = _knapsack(found, target - costs.fixed, target * tolerance)
    kept: dict[str, list[tuple[int, ...]]] = {g.name: [()] * len(g.rows) for g in searchable(groups)}
    for decision, index in zip(found, picked, strict=True):
        for row, candidate in decision.choices[index]:
            kept[decision.group][row] = (candidate,)
    return {name: tuple(rows) for name, rows in kept.items()}


def _decisions(groups: Sequence[ChoiceGroup], probabilities: Mapping[str, Tensor], costs: Costs) -> list[Decision]:
    found = []
    for group in searchable(groups):
        values = probabilities[group.name].double()
        weights = row_weights(group, groups, probabilities)
        if weights is not None:
            values = values * weights.double()[:, None]
        strengths = values.clamp(min=1e-30).log().tolist()
        prices = costs.candidates[group.name].tolist()
        for rows, count in decisions(group):
            choices = [
                tuple(zip(chosen, candidates, strict=True))
                for chosen in combinations(rows, count)
                for candidates in product(*(eligible(group, row) for row in chosen))
            ]
            found.append(
                Decision(
                    group.name,
                    choices,
                    np.array([sum(strengths[row][index] for row, index in choice) for choice in choices]),
                    np.array([sum(prices[row][index] for row, index in choice) for choice in choices]),
                )
            )
    return found


def _knapsack(found: Sequence[Decision], most: float, slack: float) -> list[int]:
    """For every decision the choice's index: the largest sum of strengths with ``most − slack <= Σ cost <= most``;
    if there is none, the sum of costs nearest to ``most``."""
    picked, cost = _strongest(found, most, slack, most)
    if _inside(np.array(cost), most, slack):
        return picked
    distance = abs(cost - most)
    other, cost = _strongest(found, most, slack, most + distance)  # the dearer ones that are as near
    return other if abs(cost - most) < distance else picked


def _inside(costs: np.ndarray, most: float, slack: float) -> np.ndarray:
    found: np.ndarray = (costs <= most * (1 + 1e-12)) & (costs >= most - slack)
    return found


def _strongest(found: Sequence[Decision], most: float, slack: float, ceiling: float) -> tuple[list[int], float]:
    """As `_knapsack`, with the cost: of sums up to the ``ceiling``, where there are any, else of the least one."""
    step = max(ceiling, 1e-12) / BUCKETS
    strengths, costs = np.zeros(1), np.zeros(1)  # of the partial choices that survive, in the order of their cost
    history: list[tuple[np.ndarray, np.ndarray]] = []
    rest = sum(float(decision.costs.min()) for decision in found)
    for decision in found:
        rest -= float(decision.costs.min())
        strength = (strengths[:, None] + decision.strengths[None, :]).ravel()
        cost = (costs[:, None] + decision.costs[None, :]).ravel()
        allowed = np.flatnonzero(cost + rest <= ceiling * (1 + 1e-12))
        if not len(allowed):
            allowed = np.array([np.argmin(cost)])
        bucket = np.floor(cost[allowed] / step).astype(np.int64)
        # The strongest of each bucket; of equals the cheaper, then the one that comes first.
        order = np.lexsort((allowed, cost[allowed], -strength[allowed], bucket))
        first = np.ones(len(order), dtype=bool)
        first[1:] = bucket[order][1:] != bucket[order][:-1]
        survivors = allowed[order[first]]
        history.append((survivors // len(decision.costs), survivors % len(decision.costs)))
        strengths, costs = strength[survivors], cost[survivors]
    inside = _inside(costs, most, slack)
    best = int(np.argmax(np.where(inside, strengths, -np.inf))) if inside.any() else int(np.argmin(abs(costs - most)))
    picked, cost = [], float(costs[best])
    for before, choice in reversed(history):
        picked.append(int(choice[best]))
        best = int(before[best])
    return picked[::-1], cost
