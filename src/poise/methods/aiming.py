"""A method for a search with a cost target: with a penalty on the expected cost, and a selection within budget."""

from __future__ import annotations

from dataclasses import replace

from poise.costs.costs import aims
from poise.methods.expected_cost import ExpectedCost
from poise.methods.method import Method
from poise.methods.penalty import NoPenalty, Sum
from poise.selection.budget import Budget
from poise.selection.magnitude import Magnitude
from poise.selection.rule import measures


def aimed(method: Method) -> Method:
    """The method with slots that go by the target of the search.

    `ExpectedCost` is added to its penalties, unless it is there. A selection that goes by the alphas alone becomes
    `Budget`, with `Magnitude`'s limit of skip connections; a `Budget` that is there stays. One that measures the
    supernet stays, too: it knows no target, so only the penalty acts.

    Examples:
        >>> from poise.methods import aimed, fair_darts
        >>> [term.kind for term in aimed(fair_darts()).penalty.terms]
        ['zero-one', 'expected-cost']
    """
    penalty, selection = method.penalty, method.selection
    if not aims(penalty):
        terms = penalty.terms if isinstance(penalty, Sum) else (penalty,)
        others = tuple(term for term in terms if not isinstance(term, NoPenalty))
        penalty = Sum((*others, ExpectedCost())) if others else ExpectedCost()
    if not aims(selection) and not measures(selection):
        selection = Budget(skips=selection.skips if isinstance(selection, Magnitude) else None)
    return replace(method, penalty=penalty, selection=selection)
