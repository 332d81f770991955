"""Relaxations: values, gradients, and exact projections against an independent solver."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods_support import draw

from poise.errors import Refused
from poise.methods import Sigmoid, Softmax


def test_softmax_by_hand() -> None:
    alphas = torch.tensor([[0.0, math.log(2.0), math.log(5.0)], [1.0, 1.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[1 / 8, 2 / 8, 5 / 8], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(Softmax()(alphas), expected)


def test_sigmoid_by_hand() -> None:
    alphas = torch.tensor([[0.0, math.log(3.0), -math.log(3.0)]], dtype=torch.float64)
    torch.testing.assert_close(Sigmoid()(alphas), torch.tensor([[0.5, 0.75, 0.25]], dtype=torch.float64))


def test_initial_alphas() -> None:
    first = Softmax().initial((400, 50), torch.Generator().manual_seed(1))
    assert float(first.std()) == pytest.approx(1e-3, rel=0.03)
    assert abs(float(first.mean())) < 5e-5
    assert torch.equal(first, Softmax().initial((400, 50), torch.Generator().manual_seed(1)))
    assert not torch.equal(first, Softmax().initial((400, 50), torch.Generator().manual_seed(2)))
    assert not Softmax(spread=0.0).initial((3, 4), torch.Generator()).any()
    start = Sigmoid().initial((3, 4), torch.Generator())
    assert start.shape == (3, 4)
    assert (Sigmoid()(start) == 0.5).all()
    with pytest.raises(Refused, match="at least 0"):
        Softmax(spread=-1e-3)


def test_renormalise_by_hand() -> None:
    values = torch.tensor([[-0.2, 0.5, 1.5], [0.1, 0.2, 0.1], [-0.3, -0.1, -0.2]], dtype=torch.float64)
    expected = torch.tensor([[0, 1 / 3, 2 / 3], [0.25, 0.5, 0.25], [0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(Softmax().renormalise(values), expected)
    torch.testing.assert_close(Sigmoid().renormalise(values), values.clamp(0, 1))


def nearest(values: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """The projection of one row: every entry at its lower bound, at its upper one or free; the nearest wins."""
    lower, upper = np.maximum(0, centre - radius), np.minimum(1, centre + radius)
    best, least = centre, np.inf
    for states in itertools.product((0, 1, 2), repeat=len(values)):
        state = np.array(states)
        free = state == 2
        point = np.where(state == 0, lower, upper)
        if free.any():
            point[free] = values[free] + (1 - point[~free].sum() - values[free].sum()) / free.sum()
        feasible = abs(point.sum() - 1) < 1e-9 and (point >= lower - 1e-12).all() and (point <= upper + 1e-12).all()
        distance = ((point - values) ** 2).sum()
        if feasible and distance < least:
            best, least = point, distance
    return best


@pytest.mark.parametrize("radius", [0.03, 0.15, 0.3, 1.0])
@pytest.mark.parametrize("candidates", [2, 3, 5])
def test_softmax_projection_is_the_nearest_point(radius: float, candidates: int) -> None:
    centre = draw(6, candidates, seed=candidates, scale=1.5).softmax(-1)
    values = centre + draw(6, candidates, seed=candidates + 1, scale=radius)
    found = Softmax().project(values, centre, radius)
    for row in range(6):
        expected = nearest(values[row].numpy(), centre[row].numpy(), radius)
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), radius=st.floats(0, 1), candidates=st.integers(2, 8), single=st.booleans())
def test_softmax_projection_is_feasible_and_optimal(seed: int, radius: float, candidates: int, single: bool) -> None:
    """Feasible, and the KKT conditions: one τ with ``p = clip(v − τ)``, so free entries all move alike."""
    dtype = torch.float32 if single else torch.float64
    tolerance = 2e-6 if single else 1e-12
    centre = draw(2, 3, candidates, seed=seed, scale=3).softmax(-1).to(dtype)
    values = (centre + draw(2, 3, candidates, seed=seed + 1).to(dtype)).to(dtype)
    found = Softmax().project(values, centre, radius)
    assert found.dtype == dtype
    assert float((found.sum(-1) - 1).abs().max()) < tolerance
    assert float((found - centre).abs().max()) <= radius + tolerance
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    lower, upper = (centre - radius).clamp(min=0), (centre + radius).clamp(max=1)
    moved = values - found
    for index in np.ndindex(2, 3):
        free = (found[index] > lower[index] + 1e-5) & (found[index] < upper[index] - 1e-5)
        if not free.any():
            continue
        tau = moved[index][free].mean()
        assert float((moved[index][free] - tau).abs().max()) < 10 * tolerance
        at_lower, at_upper = found[index] <= lower[index] + 1e-6, found[index] >= upper[index] - 1e-6
        assert (moved[index][at_lower & ~at_upper] <= tau + 1e-5).all()
        assert (moved[index][at_upper & ~at_lower] >= tau - 1e-5).all()


def test_projection_leaves_a_feasible_point_where_it_is() -> None:
    centre = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    inside = torch.tensor([[0.25, 0.3, 0.45]], dtype=torch.float64)
    torch.testing.assert_close(Softmax().project(inside, centre, 0.1), inside, rtol=0, atol=1e-14)


def test_sigmoid_projection_by_hand() -> None:
    centre = torch.tensor([[0.05, 0.5, 0.95]], dtype=torch.float64)
    low = Sigmoid().project(centre - 1, centre, 0.1)
    high = Sigmoid().project(centre + 1, centre, 0.1)
    torch.testing.assert_close(low, torch.tensor([[0.0, 0.4, 0.85]], dtype=torch.float64))
    torch.testing.assert_close(high, torch.tensor([[0.15, 0.6, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(Sigmoid().project(centre + 0.04, centre, 0.1), centre + 0.04)
