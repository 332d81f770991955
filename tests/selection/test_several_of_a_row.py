"""Rows that must keep several candidates: the inputs of a choice block. All by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from poise.selection import Magnitude, PerturbationRule, Threshold
from poise.selection.edits import Edits
from poise.selection.rule import Score
from poise.supernet.groups import ChoiceGroup, Row
from selection.selection_fakes import Fake, free

INPUTS = ChoiceGroup("inputs", 2, (Row("x", tuple("01234")), Row("y", tuple("01234"))), min_kept=3, max_kept=3)
WEIGHTS = [[0.1, 0.3, 0.2, 0.1, 0.3], [0.3, 0.2, 0.2, 0.2, 0.1]]


def test_magnitude_keeps_the_largest_and_of_equals_the_first() -> None:
    one = free(["a", "b"], rows=1)
    kept = Magnitude()(Fake({"inputs": WEIGHTS, "cell": [[0.2, 0.8]]}, [INPUTS, one]))
    assert kept == {"inputs": ((1, 2, 4), (0, 1, 2)), "cell": ((1,),)}


@pytest.mark.parametrize(
    ("threshold", "form", "kept"),
    [
        (0.85, "sparse", ((1, 2, 4), (0, 1, 2))),  # nothing reaches it: the best three in any case
        (0.05, "sparse", ((1, 2, 4), (0, 1, 2))),  # all reach it: not more than three
        (0.05, "edge", ((1, 2, 4), (0, 1, 2))),
    ],
)
def test_a_threshold_keeps_as_many_as_the_row_must(threshold: float, form: str, kept: object) -> None:
    trained = Fake({"inputs": WEIGHTS}, [INPUTS])
    found = Threshold(threshold, form)(trained)  # type: ignore[arg-type]
    assert tuple(tuple(sorted(row)) for row in found["inputs"]) == kept
    assert trained.notes == []


def test_an_edge_threshold_keeps_two_where_the_row_may_keep_one_or_two() -> None:
    group = ChoiceGroup("inputs", 2, (Row("x", tuple("012")),), min_kept=1, max_kept=2)
    for weights, kept in (([0.9, 0.95, 0.99], (2, 1)), ([0.1, 0.95, 0.2], (1,)), ([0.1, 0.3, 0.2], (1,))):
        assert Threshold(0.85, "edge")(Fake({"inputs": [weights]}, [group]))["inputs"] == (kept,)


class Worth:
    """Accuracy is the worth of what is there: a candidate whose weight is 0 costs its worth."""

    def __init__(self, worth: Mapping[str, list[list[float]]]) -> None:
        self.worth = {name: torch.tensor(rows, dtype=torch.float64) for name, rows in worth.items()}

    def __call__(self, mixture: Mapping[str, Tensor]) -> Score:
        total = sum(float((worth * (mixture[name] > 0)).sum()) for name, worth in self.worth.items())
        return Score(total / 1000, -total)


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_the_candidates_that_are_missed_most_stay_together(criterion: str) -> None:
    """Row x: worth 5 > 4 > 3 = 3 > 1 keeps 1, 3 and, of equals, the first. Row y: one is harmful."""
    worth = {"inputs": [[3.0, 5.0, 3.0, 4.0, 1.0], [-2.0, 0.0, 1.0, 2.0, -1.0]]}
    trained = Fake({"inputs": [[0.2] * 5] * 2}, [INPUTS], Worth(worth))
    assert PerturbationRule(criterion, 0)(trained) == {"inputs": ((0, 1, 3), (1, 2, 3))}  # type: ignore[arg-type]
    assert len(trained.measured) == 10, "every candidate is dropped once"
    for row, mixture in enumerate(trained.measured[:5]):
        changed = (mixture["inputs"] != 0.2).nonzero().tolist()
        assert len(changed) == 1, "one candidate is 0, nothing is renormalised"
        assert changed[0][1] == row
    first = int((trained.measured[0]["inputs"] != 0.2).nonzero()[0, 0])
    decided = trained.measured[5]["inputs"][first].tolist()
    assert decided == ([1, 1, 0, 1, 0] if first == 0 else [0, 1, 1, 1, 0])


def test_a_row_that_keeps_all_is_not_measured_and_one_that_keeps_one_may_be_raced() -> None:
    whole = ChoiceGroup("inputs", 1, (Row("x", ("0", "1")),), min_kept=2, max_kept=2)
    trained = Fake({"inputs": [[0.5, 0.5]]}, [whole], Worth({"inputs": [[1.0, 2.0]]}))
    assert PerturbationRule("accuracy", 0)(trained) == {"inputs": ((0, 1),)}
    assert trained.measured == []


def test_tuning_sees_all_that_was_decided() -> None:
    worth = {"inputs": [[3.0, 5.0, 3.0, 4.0, 1.0], [3.0, 5.0, 3.0, 4.0, 1.0]]}
    trained = Fake({"inputs": [[0.2] * 5] * 2}, [INPUTS], Worth(worth))
    PerturbationRule("accuracy", 2)(trained)
    ((mixture, measured, epochs, done, total),) = trained.tuned
    assert (measured, epochs, done, total) == (5, 2, 0, 2)
    assert sorted(mixture["inputs"].tolist()) == [[0.2] * 5, [1, 1, 0, 1, 0]]


def test_deciding_for_several() -> None:
    edits = Edits.none([INPUTS]).drop("inputs", 0, 1).decide("inputs", 0, 1, 4)
    values = {"inputs": torch.tensor(WEIGHTS, dtype=torch.float64)}
    assert edits.apply(values)["inputs"].tolist() == [[0, 1, 0, 0, 1], WEIGHTS[1]]
