"""The penalty on the expected cost: value and gradient by hand, and how a method comes by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from methods_support import relaxed

from poise.errors import Refused
from poise.methods import Blank, CostTarget, ExpectedCost, Method, Sum, ZeroOne, aimed, darts_pt, fair_darts, poise
from poise.selection import Budget, Magnitude, PerturbationRule
from poise.supernet.costs import Costs
from poise.supernet.groups import ChoiceGroup, Row

GROUP = ChoiceGroup("g", 1, (Row("0", ("a", "b")), Row("1", ("a", "b"))), least=1, most=1)
COSTS = Costs("macs", 4.0, (GROUP,), {"g": torch.tensor([[2.0, 6.0], [10.0, 30.0]], dtype=torch.float64)})
P = [[0.5, 0.5], [0.75, 0.25]]  # 4 + 4 + 15 = 23


@pytest.mark.parametrize(("target", "sign"), [(20.0, 1.0), (30.0, -1.0)])
def test_value_and_gradient(target: float, sign: float) -> None:
    p = torch.tensor(P, dtype=torch.float64, requires_grad=True)
    penalty = ExpectedCost(target, weight=3.0).bound(lambda _: COSTS)
    value = penalty(relaxed({"g": p}))
    assert float(value.detach()) == pytest.approx(3 * abs(23 / target - 1))
    value.backward()
    by_hand = torch.tensor([[2 - 4.0, 6 - 4.0], [10 - 15.0, 30 - 15.0]], dtype=torch.float64)
    torch.testing.assert_close(p.grad, sign * 3 / target * by_hand)
    assert penalty.report(relaxed({"g": p})) == {"expected_cost": {"macs": pytest.approx(23.0)}}


def test_descent_reaches_the_target() -> None:
    alphas = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    penalty = ExpectedCost(25.0).bound(lambda _: COSTS)
    optimizer = torch.optim.Adam([alphas], 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        penalty(relaxed({"g": torch.sigmoid(alphas)})).backward()
        optimizer.step()
    assert float(COSTS.expected({"g": torch.sigmoid(alphas.detach())})) == pytest.approx(25, rel=0.02)


def test_a_sum_binds_and_reports_its_terms() -> None:
    p = relaxed({"g": torch.tensor(P, dtype=torch.float64)})
    asked = []

    def costs(target: CostTarget) -> Costs:
        asked.append(target)
        return COSTS

    found = Sum((ZeroOne(2.0), ExpectedCost(20.0, weight=3.0))).bound(costs)
    assert asked == [CostTarget("macs", 20.0)]
    assert float(found(p)) == pytest.approx(float(ZeroOne(2.0)(p)) + 3 * 0.15)
    assert found.report(p) == {"expected_cost": {"macs": pytest.approx(23.0)}}
    assert Sum((ZeroOne(),)).report(p) == {}
    assert Sum((ZeroOne(),)).cost_target is None


def test_a_method_takes_aim() -> None:
    target = CostTarget("macs", 20.0)
    fair = aimed(fair_darts(), target)
    assert fair.penalty == Sum((ZeroOne(), ExpectedCost(20.0)))
    assert fair.selection == Budget(20.0)
    assert replace(fair, penalty=fair_darts().penalty, selection=fair_darts().selection) == fair_darts()
    assert aimed(poise(), target).penalty == ExpectedCost(20.0)
    assert aimed(fair, CostTarget("parameters", 7.0)).penalty == Sum((ZeroOne(), ExpectedCost(7.0, "parameters")))
    assert aimed(darts_pt(), target).selection == PerturbationRule()
    own = Method(penalty=ExpectedCost(1.0, weight=5.0), selection=Budget(1.0, tolerance=0.02))
    assert aimed(own, target).penalty == ExpectedCost(20.0, weight=5.0), "only the target is the command line's"
    assert aimed(own, target).selection == Budget(20.0, tolerance=0.02)
    assert aimed(Method(selection=Magnitude(skips=2)), target).selection == Budget(20.0, skips=2)
    assert (fair.cost_target, Method().cost_target) == (target, None)
    known = fair.bound(lambda _: COSTS)
    assert known.cost_target == target
    assert float(known.penalty(relaxed({"g": torch.tensor(P)}))) != 0
    assert Method().bound(lambda _: COSTS) == Method()


def test_refusals() -> None:
    with pytest.raises(Refused, match="the cheapest has 16, the dearest 40"):
        ExpectedCost(50.0).bound(lambda _: COSTS)
    with pytest.raises(Refused, match="bind the method first"):
        ExpectedCost(20.0)(relaxed({"g": torch.tensor(P)}))
    with pytest.raises(Refused, match="weight of the expected cost"):
        ExpectedCost(20.0, weight=-1.0)
    with pytest.raises(Refused, match="acts on alphas"):
        Method(penalty=ExpectedCost(20.0), curriculum=Blank(), selection=PerturbationRule()).check((GROUP,), 2)
    with pytest.raises(Refused, match="their magnitude says nothing"):
        Method(selection=Budget(20.0), curriculum=Blank()).check((GROUP,), 2)
