"""The covering array holds what a product would, pair by pair."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from covering import Choice, covering, few_of_all, pairs_of


def every_pair(factors: dict[str, Any]) -> set[Any]:
    return {
        frozenset(((one, a), (other, b)))
        for one, other in itertools.combinations(factors, 2)
        for a, b in itertools.product(factors[one], factors[other])
    }


def drawn(seed: int) -> dict[str, range]:
    draw = random.Random(seed)
    return {f"f{number}": range(draw.randint(1, 5)) for number in range(draw.randint(2, 7))}


@pytest.mark.parametrize("seed", range(6))
def test_every_pair_is_there_and_rows_are_few(seed: int) -> None:
    factors = drawn(seed)
    rows = covering(factors)
    assert {pair for row in rows for pair in pairs_of(row)} == every_pair(factors)
    for row in rows:
        assert list(row) == list(factors)
        assert all(row[name] in values for name, values in factors.items())
    sizes = sorted(map(len, factors.values()))
    least = sizes[-1] * sizes[-2]
    assert least <= len(rows) <= 1.5 * least + 2
    assert covering(factors) == rows


def test_what_does_not_agree_is_in_no_row_and_costs_no_other_pair() -> None:
    """Also where hardly a row is left: a0 leaves b, c, d one value each."""
    factors = {name: range(4) for name in "abcd"}

    def agree(one: Choice, other: Choice) -> bool:
        return one != ("a", 0) or other[1] == 3

    rows = covering(factors, agree)
    held = {pair for row in rows for pair in pairs_of(row)}
    assert held == {pair for pair in every_pair(factors) if agree(*sorted(pair))}


def test_a_pair_that_no_third_choice_joins_is_left_out() -> None:
    factors = {"a": range(2), "b": range(2), "c": range(2)}

    def agree(one: Choice, other: Choice) -> bool:
        return {one, other} not in ({("a", 0), ("c", 0)}, {("b", 0), ("c", 1)})

    rows = covering(factors, agree)
    assert all(agree(*sorted(pair)) for row in rows for pair in pairs_of(row))
    assert not any((row["a"], row["b"]) == (0, 0) for row in rows)
    assert any((row["a"], row["b"]) == (0, 1) for row in rows)


def test_few_names_have_whatever_any_has() -> None:
    kinds = {"none": (), "ab": "ab", "bc": "bc", "abd": "abd", "c": "c"}
    assert few_of_all(kinds) == ["abd", "bc"]
    assert few_of_all({"none": ()}) == []
