"""The penalty on the expected cost: value and gradient by hand, and how a method comes by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from methods_support import relaxed

from poise.costs.costs import Aim, Costs, aims
from poise.errors import Refused
from poise.methods import (
    Blank,
    CostTarget,
    ExpectedCost,
    Method,
    NoPenalty,
    Sum,
    ZeroOne,
    aimed,
    darts_pt,
    fair_darts,
    poise,
)
from poise.selection import Budget, Magnitude, PerturbationRule
from poise.supernet.groups import ChoiceGroup, Row

GROUP = ChoiceGroup("g", 1, (Row("0", ("a", "b")), Row("1", ("a", "b"))), min_kept=1, max_kept=1)
COSTS = Costs("macs", 4.0, (GROUP,), {"g": torch.tensor([[2.0, 6.0], [10.0, 30.0]], dtype=torch.float64)})


def aim(target: float) -> Aim:
    return Aim(CostTarget("macs", target), COSTS)


P = [[0.5, 0.5], [0.75, 0.25]]  # 4 + 4 + 15 = 23


@pytest.mark.parametrize(("target", "sign"), [(20.0, 1.0), (30.0, -1.0)])
def test_value_and_gradient(target: float, sign: float) -> None:
    p = torch.tensor(P, dtype=torch.float64, requires_grad=True)
    seen = relaxed({"g": p}, aim(target))
    value = ExpectedCost(weight=3.0)(seen)
    assert float(value.detach()) == pytest.approx(3 * abs(23 / target - 1))
    value.backward()
    by_hand = torch.tensor([[2 - 4.0, 6 - 4.0], [10 - 15.0, 30 - 15.0]], dtype=torch.float64)
    torch.testing.assert_close(p.grad, sign * 3 / target * by_hand)
    assert ExpectedCost().report(seen) == {"expected_cost": {"macs": pytest.approx(23.0)}}


def test_descent_reaches_the_target() -> None:
    alphas = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    penalty = ExpectedCost()
    optimizer = torch.optim.Adam([alphas], 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        penalty(relaxed({"g": torch.sigmoid(alphas)}, aim(25.0))).backward()
        optimizer.step()
    assert float(COSTS.expected({"g": torch.sigmoid(alphas.detach())})) == pytest.approx(25, rel=0.02)


def test_a_sum_adds_and_reports_the_cost() -> None:
    p = relaxed({"g": torch.tensor(P, dtype=torch.float64)}, aim(20.0))
    found = Sum((ZeroOne(2.0), ExpectedCost(weight=3.0)))
    assert float(found(p)) == pytest.approx(float(ZeroOne(2.0)(p)) + 3 * 0.15)
    assert found.report(p) == {"expected_cost": {"macs": pytest.approx(23.0)}}
    assert Sum((ZeroOne(),)).report(p) == {}
    assert (aims(found), aims(Sum((ZeroOne(),)))) == (True, False)


def test_a_method_takes_aim() -> None:
    fair = aimed(fair_darts())
    assert fair.penalty == Sum((ZeroOne(), ExpectedCost()))
    assert fair.selection == Budget()
    assert replace(fair, penalty=fair_darts().penalty, selection=fair_darts().selection) == fair_darts()
    assert aimed(poise()).penalty == ExpectedCost()
    assert aimed(fair) == fair
    assert aimed(darts_pt()).selection == PerturbationRule()
    own = Method(penalty=ExpectedCost(weight=5.0), selection=Budget(tolerance=0.02))
    assert aimed(own) == own, "what goes by the target already is kept"
    assert aimed(Method(penalty=Sum((NoPenalty(), ZeroOne())))).penalty == Sum((ZeroOne(), ExpectedCost()))
    assert aimed(Method(selection=Magnitude(skips=2))).selection == Budget(skips=2)


def test_refusals() -> None:
    with pytest.raises(Refused, match="the cheapest has 16, the dearest 40"):
        aim(50.0)
    unaimed = relaxed({"g": torch.tensor(P)})
    for call in (ExpectedCost(), ExpectedCost().report):
        with pytest.raises(Refused, match=r"expected-cost goes by what the network should cost.*--target-macs"):
            call(unaimed)
    with pytest.raises(Refused, match="weight of the expected cost"):
        ExpectedCost(weight=-1.0)
    with pytest.raises(Refused, match="acts on alphas"):
        Method(penalty=ExpectedCost(), curriculum=Blank(), selection=PerturbationRule()).check((GROUP,), 2)
    with pytest.raises(Refused, match="their magnitude says nothing"):
        Method(selection=Budget(), curriculum=Blank()).check((GROUP,), 2)
