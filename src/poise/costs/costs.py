"""What networks of a space cost, as a linear function of what is kept, and as an expectation over relaxed alphas.

    cost(network) = fixed + Σ_kept c[group, row, candidate]
    E[cost]       = fixed + Σ q[group, row, candidate] · c[group, row, candidate]

``q`` is the share of each candidate in what will be kept. Where rows are choices of their own one candidate is kept:
``q = p / Σ_o p`` of the row. Where a cell keeps ``k`` of the rows into a node: ``q = p · min(1, k / Σ_{e,o} p)`` over
all of the node's rows, ``none`` left out. So a one-hot ``p``, empty rows included, costs exactly what its network
costs, and no expectation exceeds what can be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from poise.costs.target import METRICS, CostTarget, readable
from poise.errors import Refused
from poise.supernet.constants import constant
from poise.supernet.groups import ChoiceGroup, Kept, searchable


@dataclass(frozen=True, eq=False)
class Costs:
    """Costs of a space's networks of one size.

    Args:
        metric: what is counted.
        fixed: what every network costs.
        groups: the groups that genotypes decide.
        candidates: group -> ``[rows, candidates]`` float64, what each candidate costs in all layers of its group.
        narrowed: whether an earlier stage of a search has dropped some of the space's candidates.
    """

    metric: str
    fixed: float
    groups: tuple[ChoiceGroup, ...]
    candidates: Mapping[str, Tensor]
    narrowed: bool = False

    def left(self, groups: Sequence[ChoiceGroup]) -> Costs:
        """The same where so much is left of the groups."""
        found = {}
        for group in searchable(groups):
            whole = next(other for other in self.groups if other.name == group.name)
            columns = [
                [before.candidates.index(name) for name in row.candidates]
                for before, row in zip(whole.rows, group.rows, strict=True)
            ]
            found[group.name] = self.candidates[group.name].gather(1, torch.tensor(columns))
        return replace(self, groups=searchable(groups), candidates=found)

    def expected(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """``E[cost]`` of relaxed alphas, group -> ``[rows, candidates]``; see the top of this file."""
        first = next(iter(probabilities.values()))
        total = first.new_full((), self.fixed)
        for group in self.groups:
            values = probabilities[group.name]
            costs = self.candidates[group.name].to(values)
            total = total + (shares(group, values) * costs).sum()
        return total

    def on(self, device: torch.device) -> Costs:
        """The same on a device, to which each step of a search would else copy them; one without float64 is left."""
        if device.type == "mps":
            return self
        return replace(self, candidates={name: values.to(device) for name, values in self.candidates.items()})

    def of(self, kept: Kept) -> float:
        """What the network that keeps these candidates costs."""
        found = self.fixed
        for group in self.groups:
            for row, indices in enumerate(kept[group.name]):
                found += sum(float(self.candidates[group.name][row, index]) for index in indices)
        return found

    def range(self) -> tuple[float, float]:
        """The cheapest and the dearest network among those that a selection can return."""
        low = high = self.fixed
        for group in self.groups:
            costs = self.candidates[group.name]
            rows = [costs[row, eligible(group, row)].tolist() for row in range(len(group.rows))]
            for node, count in decisions(group):
                low += sum(sorted(min(rows[row]) for row in node)[:count])
                high += sum(sorted((max(rows[row]) for row in node), reverse=True)[:count])
        return low, high


def eligible(group: ChoiceGroup, row: int) -> list[int]:
    """The candidates that a row may end up with: where a cell keeps a number of inputs per node, ``none`` is not
    one."""
    names = group.rows[row].candidates
    return [index for index, name in enumerate(names) if name != "none" or group.inputs is None]


def decisions(group: ChoiceGroup) -> list[tuple[tuple[int, ...], int]]:
    """What is decided together: rows, and how many of them are kept."""
    if group.inputs is None:
        return [((row,), 1) for row in range(len(group.rows))]
    return [(tuple(node), min(group.inputs, len(node))) for node in group.nodes]


def shares(group: ChoiceGroup, values: Tensor) -> Tensor:
    """``q [rows, candidates]``, how much of each candidate will be kept; see the top of this file."""
    if group.inputs is None:
        return values / _or_one(values.sum(dim=1, keepdim=True))
    rows, columns = (range(size) for size in group.shape)
    nodes = decisions(group)

    def table(numbers: Iterable[Any]) -> Tensor:
        return constant(tuple(numbers), values.dtype, values.device)

    values = values * table(tuple(float(column in eligible(group, row)) for column in columns) for row in rows)
    enters = table(tuple(float(row in node) for row in rows) for node, _ in nodes)
    share = (table(count for _, count in nodes) / _or_one(enters @ values.sum(dim=1))).clamp(max=1)
    scale = share @ enters + (1 - enters.sum(dim=0))
    return values * scale[:, None]


def _or_one(total: Tensor) -> Tensor:
    """What to divide by: a row without any weight stays as it is."""
    return torch.where(total > 0, total, torch.ones_like(total))


@dataclass(frozen=True, eq=False)
class Aim:
    """What the network that a search finds should cost, and what those of its space do.

    Raises `Refused` for a target that no network meets. That is settled before a search begins: what a later stage has
    left may not reach it, and then the nearest network has to do.
    """

    target: CostTarget
    costs: Costs

    def __post_init__(self) -> None:
        low, high = self.costs.range()
        if not self.costs.narrowed and not low <= self.target.value <= high:
            metric = self.target.metric
            raise Refused(
                f"no network here costs {readable(metric, self.target.value)} ({METRICS[metric]}): the cheapest has "
                f"{readable(metric, low)}, the dearest {readable(metric, high)}; choose a target between"
            )


def aims(slot: object) -> bool:
    """Whether a slot's value goes by the aim of the search: its attribute ``aims``, False if it has none."""
    return bool(getattr(slot, "aims", False))


A = TypeVar("A", Aim, CostTarget)


def needed(aim: A | None, slot: Any) -> A:
    """The aim, or the target, that a slot's value goes by. Raises `Refused` if the search has none."""
    if aim is None:
        raise Refused(
            f"{slot.kind} goes by what the network should cost, and nothing says that: pass --target-macs, "
            f"--target-parameters or --target-latency (in Python: cost_target=), or set search.target"
        )
    return aim
