"""Selection within a budget, against all choices there are."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from poise.costs.costs import Aim, Costs
from poise.costs.counting import cost_of, count
from poise.costs.target import CostTarget
from poise.errors import Refused
from poise.selection import Budget, Magnitude
from poise.spaces import SPACES, ImageShape
from poise.spaces.space import genotype_of
from poise.supernet.groups import ChoiceGroup, Kept, Row
from poise.supernet.narrowing import without
from selection.selection_fakes import Fake, free

NODE = ChoiceGroup("cell", 3, tuple(Row(f"{s}->2", ("none", "a", "b")) for s in range(3)), nodes=((0, 1, 2),), inputs=2)
FREE = free(["none", "a", "b"], 3, "free")
GROUPS = (NODE, FREE)


def instance(seed: int) -> tuple[dict[str, torch.Tensor], Costs]:
    draw = torch.Generator().manual_seed(seed)
    values = {g.name: torch.rand(g.shape, generator=draw, dtype=torch.float64) for g in GROUPS}
    found = {g.name: 100 * torch.rand(g.shape, generator=draw, dtype=torch.float64) for g in GROUPS}
    return values, Costs("macs", 50.0, GROUPS, found)


def every_choice() -> list[Kept]:
    found: list[Kept] = []
    for rows in itertools.combinations(range(3), 2):
        for kept in itertools.product((1, 2), repeat=2):
            node: list[tuple[int, ...]] = [()] * 3
            for row, candidate in zip(rows, kept, strict=True):
                node[row] = (candidate,)
            found += [
                {"cell": tuple(node), "free": tuple((c,) for c in others)}
                for others in itertools.product(range(3), repeat=3)
            ]
    return found


def strength(kept: Kept, values: dict[str, torch.Tensor]) -> float:
    return sum(
        float(values[name][row, index].log())
        for name, rows in kept.items()
        for row, indices in enumerate(rows)
        for index in indices
    )


def chosen(target: float, values: Any, costs: Costs, groups: Any = GROUPS, **settings: Any) -> tuple[Kept, list[str]]:
    trained = Fake(values, groups, aim=Aim(CostTarget("macs", target), costs))
    return Budget(**settings)(trained), trained.notes


@pytest.mark.parametrize("seed", range(12))
def test_the_strongest_choice_in_the_window(seed: int) -> None:
    values, costs = instance(seed)
    low, high = costs.range()
    for share in (0.2, 0.5, 0.8):
        target = low + share * (high - low)
        inside = [kept for kept in every_choice() if 0.9 * target <= costs.of(kept) <= target]
        kept, notes = chosen(target, values, costs)
        if inside:
            best = max(inside, key=lambda kept: strength(kept, values))
            assert strength(kept, values) == pytest.approx(strength(best, values), abs=1e-9)
            assert 0.9 * target <= costs.of(kept) <= target
            assert not notes


@pytest.mark.parametrize("seed", range(3))
def test_a_budget_that_does_not_bind_changes_nothing(seed: int) -> None:
    values, costs = instance(seed)
    kept = Magnitude()(Fake(values, GROUPS))
    assert chosen(costs.of(kept), values, costs) == (kept, [])


def test_edges_are_scaled_by_their_weights() -> None:
    scale = ChoiceGroup("cell.2", 3, (Row("2", ("0", "1", "2")),), scales=("cell", (0, 1, 2)))
    values = {"cell": torch.full((3, 3), 0.5), "cell.2": torch.tensor([[0.1, 0.5, 0.4]])}
    costs = Costs("macs", 1.0, (NODE,), {"cell": torch.ones(3, 3, dtype=torch.float64)})
    assert chosen(3.0, values, costs, (NODE, scale))[0] == {"cell": ((), (1,), (1,))}


def test_where_nothing_lies_in_the_window_the_nearest_is_taken_and_said() -> None:
    group = free(["a", "b"], 1)
    costs = Costs("macs", 0.0, (group,), {"cell": torch.tensor([[10.0, 100.0]], dtype=torch.float64)})
    for target, index, share in ((20.0, 0, "10"), (98.0, 1, "100")):
        kept, notes = chosen(target, {"cell": [[0.9, 0.1]]}, costs, [group])
        assert kept == {"cell": ((index,),)}
        assert f"the nearest has {share}" in notes[0]


def test_the_nearest_may_be_dearer_than_the_window() -> None:
    group = free(["a", "b"], 1)
    costs = Costs("macs", 0.0, (group,), {"cell": torch.tensor([[50.0, 111.0]], dtype=torch.float64)})
    for target, index in ((100.0, 1), (85.0, 1), (80.5, 0), (80.0, 0), (60.0, 0)):  # at 80.5 both are as near
        assert chosen(target, {"cell": [[0.9, 0.1]]}, costs, [group])[0] == {"cell": ((index,),)}


def test_where_the_window_is_empty_none_of_all_choices_is_nearer() -> None:
    """Whole numbers below `BUCKETS`: no two costs share a step, so that nothing is rounded."""
    dearer, every = 0, every_choice()
    for seed in range(200):
        draw = torch.Generator().manual_seed(seed)
        values = {g.name: torch.rand(g.shape, generator=draw, dtype=torch.float64) for g in GROUPS}
        found = {g.name: torch.randint(1, 300, g.shape, generator=draw).double() for g in GROUPS}
        costs = Costs("macs", 20.0, GROUPS, found)
        totals = sorted({costs.of(kept) for kept in every})
        gap, below = max((high - low, low) for low, high in itertools.pairwise(totals))
        target = below + gap * (0.2 + 0.6 * float(torch.rand((), generator=draw)))
        kept, notes = chosen(target, values, costs, tolerance=1e-4)
        cost = costs.of(kept)
        assert abs(cost - target) == pytest.approx(min(abs(total - target) for total in totals), abs=1e-6), seed
        assert notes[0].startswith("no choice found")
        dearer += cost > target
    assert 50 < dearer < 150


@pytest.mark.parametrize(("name", "sizes"), [("mobile", {}), ("darts", {"cells": 4}), ("nasbench201", {})])
def test_targets_are_met_by_the_networks_themselves(name: str, sizes: dict[str, int]) -> None:
    space: Any = SPACES[name]()
    groups = without(space.groups, ("none",))
    task = ImageShape(3, (32, 32), 10)
    costs = count(space, task, "macs", channels=16, **sizes).left(groups)
    low, high = costs.range()
    draw = torch.Generator().manual_seed(0)
    for share in (0.2, 0.6):
        target = low + share * (high - low)
        values = {g.name: torch.rand(g.shape, generator=draw) for g in groups}
        kept, notes = chosen(target, values, costs, groups)
        genotype = genotype_of(name, kept, groups)
        space.check(genotype)
        true = cost_of(space, genotype, task, "macs", channels=16, **sizes)
        assert 0.9 * target <= true <= target
        assert not notes


def test_refusals() -> None:
    _, costs = instance(0)
    with pytest.raises(Refused, match="tolerance"):
        Budget(tolerance=1.0)
    with pytest.raises(Refused, match="the cheapest has"):
        chosen(1.0, {}, costs)
    with pytest.raises(Refused, match=r"budget goes by what the network should cost.*--target-macs"):
        Budget()(Fake({}, GROUPS))


SKIPS = ChoiceGroup(
    "cell", 3, tuple(Row(f"{s}->2", ("none", "skip_connect", "a", "b")) for s in range(3)), nodes=((0, 1, 2),), inputs=2
)


def skipping(**settings: Any) -> tuple[Kept, list[str]]:
    """Skip connections are by far the strongest, and cost nothing; ``a`` costs 10 and ``b`` 40."""
    values = {"cell": torch.tensor([[0.0, 0.7, 0.2, 0.1], [0.0, 0.6, 0.3, 0.1], [0.0, 0.5, 0.1, 0.4]]).double()}
    costs = Costs("macs", 50.0, (SKIPS,), {"cell": torch.tensor([[0.0, 0.0, 10.0, 40.0]] * 3).double()})
    return chosen(100, values, costs, (SKIPS,), tolerance=0.5, **settings)


def test_a_limit_of_skip_connections_holds_within_the_budget() -> None:
    assert skipping() == ({"cell": ((1,), (1,), ())}, [])
    # Of the two that are kept the second is the weaker: without it the third one's, and then its ``b``.
    assert skipping(skips=1) == ({"cell": ((1,), (), (3,))}, [])
    assert skipping(skips=0) == ({"cell": ((), (2,), (3,))}, [])


def test_more_skip_connections_than_the_limit_stay_where_nothing_else_fits() -> None:
    values = {"cell": torch.tensor([[0.0, 0.5, 0.3, 0.2]] * 3).double()}
    costs = Costs("macs", 50.0, (SKIPS,), {"cell": torch.tensor([[0.0, 0.0, 100.0, 100.0]] * 3).double()})
    kept, notes = chosen(50, values, costs, (SKIPS,), tolerance=0.1, skips=0)
    assert sum(indices == (1,) for indices in kept["cell"]) == 2
    assert notes == ["cell keeps 2 skip connections, for want of anything else"]
    with pytest.raises(Refused, match="at least 0, got -1"):
        Budget(skips=-1)
