"""Expected costs: by hand, against every discrete choice, and their gradient."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
import torch

from poise.costs.costs import Aim, Costs, shares
from poise.costs.target import CostTarget, readable
from poise.errors import Refused
from poise.supernet.groups import ChoiceGroup, Row
from selection.selection_fakes import cell, free

NODE = ChoiceGroup("cell", 3, tuple(Row(f"{s}->2", ("none", "a", "b")) for s in range(3)), nodes=((0, 1, 2),), inputs=2)


def costs(*groups: ChoiceGroup, fixed: float = 5.0, seed: int = 0) -> Costs:
    draw = torch.Generator().manual_seed(seed)
    found = {g.name: torch.rand(g.shape, generator=draw, dtype=torch.float64) * 10 for g in groups}
    return Costs("macs", fixed, groups, found)


def test_independent_rows_by_hand() -> None:
    group = free(["a", "b"], rows=2)
    given = Costs("macs", 5.0, (group,), {"cell": torch.tensor([[1.0, 3.0], [10.0, 20.0]], dtype=torch.float64)})
    # softmax rows count as they are; independent weights by their share: (0.2, 0.6) is (1/4, 3/4)
    p = torch.tensor([[0.5, 0.5], [0.2, 0.6]], dtype=torch.float64, requires_grad=True)
    value = given.expected({"cell": p})
    assert float(value.detach()) == pytest.approx(5 + 2 + 17.5)
    value.backward()
    # ∂/∂p_i (Σ p c / Σ p) = (c_i − mean) / Σ p
    expected = torch.tensor([[1 - 2.0, 3 - 2.0], [(10 - 17.5) / 0.8, (20 - 17.5) / 0.8]], dtype=torch.float64)
    torch.testing.assert_close(p.grad, expected)


def test_a_node_counts_as_many_rows_as_it_keeps() -> None:
    values = torch.tensor([[0.5, 0.2, 0.3], [0.0, 0.5, 0.5], [0.2, 0.0, 0.8]], dtype=torch.float64)
    # without none 0.5 + 1.0 + 0.8 = 2.3 is left, of which 2 are kept
    expected = values * torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64) * 2 / 2.3
    torch.testing.assert_close(shares(NODE, values), expected)
    weak = values / 10  # less than 2 in all: it counts as it is
    torch.testing.assert_close(shares(NODE, weak), weak * torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("group", [NODE, cell(["none", "a", "b"]), free(["none", "a"], 4), free(["a", "b"], 4)])
def test_a_one_hot_mixture_costs_what_its_network_costs(group: ChoiceGroup) -> None:
    draw = random.Random(0)
    given = costs(group)
    for _ in range(30):
        rows: list[tuple[int, ...]] = [()] * len(group.rows)
        allowed = [i for i, name in enumerate(group.rows[0].candidates) if name != "none"]
        for node in group.nodes or [(row,) for row in range(len(group.rows))]:
            count = draw.randint(0, group.inputs or 1)
            for row in draw.sample(list(node), count):
                rows[row] = (draw.choice(allowed),)
        mixture = torch.zeros(group.shape, dtype=torch.float64)
        for row, kept in enumerate(rows):
            mixture[row, list(kept)] = 1
        by_hand = 5.0 + float((mixture * given.candidates[group.name]).sum())
        assert given.of({group.name: tuple(rows)}) == pytest.approx(by_hand, rel=1e-12)
        assert float(given.expected({group.name: mixture})) == pytest.approx(by_hand, rel=1e-12)


def test_the_range_is_that_of_all_choices() -> None:
    given = costs(NODE, free(["none", "a", "b"], 2, "free"))
    found = []
    for rows in itertools.combinations(range(3), 2):
        for kept in itertools.product((1, 2), repeat=2):
            for others in itertools.product(range(3), repeat=2):
                node: list[tuple[int, ...]] = [()] * 3
                for row, candidate in zip(rows, kept, strict=True):
                    node[row] = (candidate,)
                found.append(given.of({"cell": tuple(node), "free": tuple((c,) for c in others)}))
    low, high = given.range()
    assert low == pytest.approx(min(found))
    assert high == pytest.approx(max(found))
    for value in (low, high):
        assert Aim(CostTarget("macs", value), given).target.value == value
    for wrong in (0.99 * low, 1.01 * high):
        with pytest.raises(Refused, match=r"no network here costs .* the cheapest has .* the dearest"):
            Aim(CostTarget("macs", wrong), given)
        Aim(CostTarget("macs", wrong), replace(given, narrowed=True))


def test_expectations_lie_in_the_range_whatever_the_weights() -> None:
    given = costs(cell(["none", "a", "b"]), free(["a", "b"], 3, "free"))
    low, high = given.range()
    draw = torch.Generator().manual_seed(1)
    for _ in range(20):
        values = {g.name: torch.rand(g.shape, generator=draw, dtype=torch.float64) for g in given.groups}
        values["normal"][:, 0] = 0
        values["normal"] += 0.7  # enough on every node that it keeps two
        assert low <= float(given.expected(values)) <= high


def test_zeros_cost_nothing_and_have_gradients() -> None:
    given = costs(NODE, free(["a", "b"], 2, "free"))
    values = {g.name: torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in given.groups}
    total = given.expected(values)
    assert float(total.detach()) == 5.0
    total.backward()
    assert all(torch.isfinite(v.grad).all() for v in values.values() if v.grad is not None)


def test_precision_follows_the_weights() -> None:
    given = costs(NODE)
    assert given.expected({"cell": torch.ones(3, 3)}).dtype == torch.float32
    assert given.expected({"cell": torch.ones(3, 3, dtype=torch.float64)}).dtype == torch.float64


def test_targets() -> None:
    assert CostTarget("macs", 1.0).table is None
    for bad, message in (
        (("mac", 1.0), "did you mean 'macs'"),
        (("macs", 0.0), "above 0"),
        (("macs", float("nan")), "above 0"),
        (("latency", 1.0), "poise measure-latency"),
        (("macs", 1.0, "t.json"), "goes with a target of latency"),
    ):
        with pytest.raises(Refused, match=message):
            CostTarget(*bad)


def test_amounts_as_people_read_them() -> None:
    found = [readable("macs", value) for value in (12, 1234, 301_240_000, 5e9)]
    assert found == ["12", "1.234k", "301.2M", "5G"]
    assert readable("latency", 0.00803) == "8.03 ms"
