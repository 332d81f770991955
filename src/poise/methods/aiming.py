"""A method with a cost target: the same method, with a penalty on the expected cost and a selection within budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from poise.methods.expected_cost import ExpectedCost
from poise.methods.method import Method
from poise.methods.penalty import NoPenalty, Sum
from poise.selection.budget import Budget
from poise.selection.magnitude import Magnitude
from poise.selection.rule import measures
from poise.supernet.costs import CostTarget


def aimed(method: Method, target: CostTarget) -> Method:
    """The method aimed at a cost.

    `ExpectedCost` is added to its penalties; one that is there gets the target and keeps its weight. A selection that
    goes by the alphas alone becomes `Budget`, with `Magnitude`'s limit of skip connections; a `Budget` that is there
    keeps its tolerance. One that measures the supernet stays as it is: it knows no target, so only the penalty acts.

    Example:
        >>> from poise.methods import CostTarget, aimed, fair_darts
        >>> [term.kind for term in aimed(fair_darts(), CostTarget("macs", 300e6)).penalty.terms]
        ['zero-one', 'expected-cost']
    """
    old = method.penalty.terms if isinstance(method.penalty, Sum) else (method.penalty,)
    terms = tuple(term for term in old if not isinstance(term, (ExpectedCost, NoPenalty)))
    aim: dict[str, Any] = {"target": target.value, "metric": target.metric, "table": target.table}
    given = next((term for term in old if isinstance(term, ExpectedCost)), ExpectedCost(**aim))
    cost = replace(given, **aim)
    selection = method.selection
    if isinstance(selection, Budget):
        selection = replace(selection, **aim)
    elif not measures(selection):
        selection = Budget(**aim, skips=selection.skips if isinstance(selection, Magnitude) else None)
    return replace(method, penalty=Sum((*terms, cost)) if terms else cost, selection=selection)
