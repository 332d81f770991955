"""Penalties: values and gradients by hand."""

from __future__ import annotations

import pytest
import torch
from methods_support import relaxed

from poise.errors import Refused
from poise.methods import Blank, Method, NoPenalty, Sum, ZeroOne


def tensors() -> dict[str, torch.Tensor]:
    return {
        "normal": torch.tensor([[0.5, 0.9]], dtype=torch.float64, requires_grad=True),
        "reduce": torch.tensor([[0.1, 0.7], [1.0, 0.0]], dtype=torch.float64, requires_grad=True),
    }


def test_squared_form() -> None:
    given = tensors()
    value = ZeroOne(weight=3.0)(relaxed(given))
    # distances 0, .4, −.4, .2, .5, −.5: squares sum to .16 + .16 + .04 + .25 + .25 = .86, over all 6 entries
    assert float(value.detach()) == pytest.approx(-3 * 0.86 / 6, rel=1e-12)
    value.backward()
    expected = -3 * 2 / 6
    torch.testing.assert_close(given["normal"].grad, expected * torch.tensor([[0.0, 0.4]], dtype=torch.float64))
    torch.testing.assert_close(
        given["reduce"].grad, expected * torch.tensor([[-0.4, 0.2], [0.5, -0.5]], dtype=torch.float64)
    )


def test_absolute_form() -> None:
    given = tensors()
    value = ZeroOne(weight=3.0, norm="l1")(relaxed(given))
    assert float(value.detach()) == pytest.approx(-3 * (0.4 + 0.4 + 0.2 + 0.5 + 0.5) / 6, rel=1e-12)
    value.backward()
    torch.testing.assert_close(given["normal"].grad, torch.tensor([[0.0, -0.5]], dtype=torch.float64))
    torch.testing.assert_close(given["reduce"].grad, torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64))


def test_the_published_weight() -> None:
    assert float(ZeroOne()(relaxed({"g": torch.ones(1, 1)}))) == pytest.approx(-10 * 0.25)


def test_sum_adds() -> None:
    given = tensors()
    both = Sum((ZeroOne(2.0), ZeroOne(5.0, "l1"), NoPenalty()))(relaxed(given))
    assert float(both.detach()) == pytest.approx(
        float((ZeroOne(2.0)(relaxed(given)) + ZeroOne(5.0, "l1")(relaxed(given))).detach()), rel=1e-12
    )


def test_no_penalty_is_zero_in_the_inputs_precision() -> None:
    value = NoPenalty()(relaxed(tensors()))
    assert float(value) == 0.0
    assert value.shape == ()
    assert value.dtype == torch.float64


def test_refusals() -> None:
    for bad in ({"norm": "l3"}, {"weight": -1.0}, {"weight": float("inf")}, {"weight": float("nan")}):
        with pytest.raises(Refused):
            ZeroOne(**bad)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="at least one"):
        Sum(())
    blank = Method(curriculum=Blank())
    assert "never trains" in (Sum((NoPenalty(), ZeroOne())).conflict(blank, (), 5) or "")
    assert Sum((NoPenalty(),)).conflict(blank, (), 5) is None
    assert ZeroOne().conflict(Method(), (), 5) is None
