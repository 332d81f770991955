"""A method with a cost target: the same method, with a penalty on the expected cost and a selection within budget."""

from __future__ import annotations

from dataclasses import replace

from poise.methods.expected_cost import ExpectedCost
from poise.methods.method import Method
from poise.methods.penalty import NoPenalty, Sum
from poise.selection.budget import Budget
from poise.selection.rule import measures
from poise.supernet.costs import CostTarget


def aimed(method: Method, target: CostTarget) -> Method:
    """The method aimed at a cost.

    `ExpectedCost` is added to its penalties (one that is there is replaced). A selection that goes by the alphas alone
    becomes `Budget`. One that measures the supernet stays as it is: it knows no target, so only the penalty acts.

    Example:
        >>> from poise.methods import CostTarget, aimed, fair_darts
        >>> [term.kind for term in aimed(fair_darts(), CostTarget("macs", 300e6)).penalty.terms]
        ['zero-one', 'expected-cost']
    """
    old = method.penalty.terms if isinstance(method.penalty, Sum) else (method.penalty,)
    terms = tuple(term for term in old if not isinstance(term, (ExpectedCost, NoPenalty)))
    cost = ExpectedCost(target.value, target.metric, table=target.table)
    selection = method.selection
    if not measures(selection):
        selection = Budget(target.value, target.metric, table=target.table)
    return replace(method, penalty=Sum((*terms, cost)) if terms else cost, selection=selection)
