"""Every two choices together at least once, in few rows: a pairwise covering array; and everything at least once.

It stands for a product of all choices where running that would take long: most faults of a combination need two of its
choices only.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

Choice = tuple[str, Any]
"""A factor's name and one of its values."""
Pair = frozenset[Choice]
Row = dict[str, Any]

DRAWS = 10
"""Rows that are drawn for a pair that is missing; the one with most that is new is taken."""


def pairs_of(row: Row) -> Iterator[Pair]:
    """Every two choices of a row."""
    return (frozenset(two) for two in itertools.combinations(row.items(), 2))


def covering(
    factors: Mapping[str, Sequence[Any]], agree: Callable[[Choice, Choice], bool] = lambda one, other: True
) -> list[Row]:
    """Rows, one value of each factor, in which every two values that agree stand together, where there is such a row,
    and no two that do not. Greedy, and the same in every process.

    Args:
        factors: name -> its values, which are hashable.
        agree: whether two choices, of two factors, may stand in one row.
    """
    draw = random.Random(0)
    choices = {name: [(name, value) for value in values] for name, values in factors.items()}
    fine = {
        frozenset(two): None
        for names in itertools.combinations(choices, 2)
        for two in itertools.product(*(choices[name] for name in names))
        if agree(*two)
    }  # fmt: skip
    missing, rows = dict(fine), []
    while missing:
        pair = next(iter(missing))
        drawn = [_row(dict(pair), choices, fine, missing, draw) for _ in range(DRAWS)]
        best = max((row for row in drawn if row), key=lambda row: sum(p in missing for p in pairs_of(row)), default={})
        for held in (pair, *pairs_of(best)):
            missing.pop(held, None)
        if best:
            rows.append({name: best[name] for name in factors})
    return rows


def few_of_all(kinds: Mapping[str, Collection[Any]]) -> list[str]:
    """Few names that have together whatever any of them has. Greedy, and the same in every process.

    Args:
        kinds: name -> what it has.
    """
    missing, found = dict.fromkeys(kind for held in kinds.values() for kind in held), list[str]()
    while missing:
        found.append(max(kinds, key=lambda name: sum(kind in missing for kind in {*kinds[name]})))
        for kind in kinds[found[-1]]:
            missing.pop(kind, None)
    return found


def _row(
    row: Row, choices: Mapping[str, list[Choice]], fine: Mapping[Pair, None], missing: Mapping[Pair, None],
    draw: random.Random,
) -> Row | None:  # fmt: skip
    """A row with these choices whose others are drawn, the ones with most that is new first; None if there is none."""
    left = [name for name in choices if name not in row]
    if not left:
        return row
    name = draw.choice(left)

    def new(choice: Choice) -> int:
        return sum(frozenset((choice, held)) in missing for held in row.items())

    for choice in sorted(draw.sample(choices[name], len(choices[name])), key=new, reverse=True):
        if all(frozenset((choice, held)) in fine for held in row.items()):
            found = _row({**row, name: choice[1]}, choices, fine, missing, draw)
            if found is not None:
                return found
    return None
