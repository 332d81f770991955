"""Edits of a mixture: exact numbers, no renormalising, idempotent, immutable."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from poise.selection.edits import Edits
from poise.supernet.groups import ChoiceGroup, Row

GROUPS = (
    ChoiceGroup("a", 2, (Row("0", ("x", "y", "z")), Row("1", ("x", "y", "z")))),
    ChoiceGroup("b", 1, (Row("0", ("x", "y")),)),
)
A = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], dtype=torch.float64)
B = torch.tensor([[0.4, 0.6]], dtype=torch.float64)


def applied(edits: Edits) -> list[list[float]]:
    result = edits.apply({"a": A, "b": B})
    assert torch.equal(result["b"], B)  # no edit below touches b
    assert result["a"].dtype == A.dtype
    again = edits.apply(result)
    assert torch.equal(again["a"], result["a"])
    layers = edits.apply({"a": A.expand(2, 2, 3), "b": B.expand(1, 1, 2)})["a"]
    assert torch.equal(layers, result["a"].expand(2, 2, 3))
    rows: list[list[float]] = result["a"].tolist()
    return rows


def test_none() -> None:
    assert applied(Edits.none(GROUPS)) == A.tolist()


def test_drop_does_not_renormalise() -> None:
    assert applied(Edits.none(GROUPS).drop("a", 0, 1)) == [[0.2, 0.0, 0.5], [0.6, 0.3, 0.1]]


def test_decide_is_one_hot() -> None:
    assert applied(Edits.none(GROUPS).decide("a", 1, 2)) == [[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]


def test_remove_is_zero() -> None:
    assert applied(Edits.none(GROUPS).remove("a", 0)) == [[0.0, 0.0, 0.0], [0.6, 0.3, 0.1]]


def test_edits_add_up() -> None:
    edits = Edits.none(GROUPS).drop("a", 0, 0).drop("a", 0, 2).decide("a", 1, 0)
    assert applied(edits) == [[0.0, 0.3, 0.0], [1.0, 0.0, 0.0]]
    assert applied(edits.decide("a", 0, 2)) == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert applied(edits.remove("a", 1)) == [[0.0, 0.3, 0.0], [0.0, 0.0, 0.0]]
    assert applied(edits.drop("a", 1, 0)) == [[0.0, 0.3, 0.0], [0.0, 0.0, 0.0]]


def test_immutable() -> None:
    first = Edits.none(GROUPS)
    first.drop("a", 0, 1).decide("a", 1, 2).remove("b", 0)
    assert applied(first) == A.tolist()
    with pytest.raises(FrozenInstanceError):
        first.scale = {}  # type: ignore[misc]


def test_decided_rows_pass_no_gradient() -> None:
    values = A.clone().requires_grad_()
    edits = Edits.none(GROUPS).decide("a", 0, 1).drop("a", 1, 0)
    edits.apply({"a": values})["a"].sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
