"""The dominant eigenvalue against exact double backward, dense matrices and hand-made ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diagnostics_support import alphas_of, loss_by_hand, smooth_searcher

import poise
from poise.diagnostics.diagnostic import BATCHES
from poise.diagnostics.eigenvalue import dominant_eigenvalue
from poise.diagnostics.sharpness import spectrum_of, tridiagonal
from poise.diagnostics.vector import SearchLoss
from poise.engine.searcher import Searcher


def exact(found: Searcher, batches: int) -> torch.Tensor:
    """The whole Hessian, by double backward, with the mixture written out by hand."""
    return torch.autograd.functional.hessian(lambda point: loss_by_hand(found, batches, point), alphas_of(found))


@pytest.mark.parametrize("batches", [1, 3])
def test_against_the_exact_hessian(batches: int) -> None:
    found = smooth_searcher()
    expected = torch.linalg.eigvalsh(exact(found, batches)).max()
    assert expected > 0.001
    loss = SearchLoss(found, batches)
    value = dominant_eigenvalue(loss, found.seed, 12)
    assert value == pytest.approx(float(expected), rel=1e-3)
    assert dominant_eigenvalue(loss, found.seed, 2) <= value + 1e-9, "fewer steps give a lower bound"


def test_it_leaves_the_searcher_alone() -> None:
    found = smooth_searcher()
    before = {name: value.clone() for name, value in found.supernet.state_dict().items()}
    alphas = {name: value.detach().clone() for name, value in found.alphas.items()}
    generator = torch.get_rng_state()
    first = dominant_eigenvalue(SearchLoss(found, BATCHES), found.seed)
    assert first == dominant_eigenvalue(SearchLoss(found, BATCHES), found.seed)
    assert all(torch.equal(value, before[name]) for name, value in found.supernet.state_dict().items())
    assert all(torch.equal(value, alphas[name]) for name, value in found.alphas.items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(value.grad is None for value in [*found.alphas.values(), *found.supernet.parameters()])


def test_lanczos_finds_the_eigenvalues() -> None:
    generator = torch.Generator().manual_seed(1)
    mixed = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    values = torch.tensor([-7.0, -1, 0, 2, 3, 5], dtype=torch.float64)
    matrix = mixed @ values.diag() @ mixed.T
    start = torch.randn(6, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(tridiagonal(lambda v: matrix @ v, start, 6), values)
    assert len(tridiagonal(lambda v: matrix @ v, start, 3)) == 3
    same = tridiagonal(lambda v: 4 * v, start, 6)
    torch.testing.assert_close(same, torch.tensor([4.0], dtype=torch.float64)), "every vector is an eigenvector"


SADDLE = (-9.0, -8.0, -1.0, 0.5, 1.0, 2.0)


class Quadratic:
    """``½ αᵀHα`` of two groups of 3 alphas: downwards it bends more than upwards."""

    def __init__(self, values: tuple[float, ...]) -> None:
        generator = torch.Generator().manual_seed(1)
        mixed = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
        self.matrix = mixed @ torch.tensor(values, dtype=torch.float64).diag() @ mixed.T
        self.point = torch.ones(6, dtype=torch.float64)
        self.sizes = {"a": 3, "b": 3}

    def gradient(self, point: torch.Tensor) -> torch.Tensor:
        return self.matrix @ point

    def hessian(self, point: torch.Tensor) -> torch.Tensor:
        return self.matrix

    def product(self, point: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        return self.matrix @ vector


@pytest.mark.parametrize("sign", [1, -1])
def test_the_dominant_eigenvalue_is_the_largest_not_the_longest(sign: int) -> None:
    """RobustDARTS watches how sharp the loss is, so what bends downwards does not count, however strongly."""
    loss: Any = Quadratic(tuple(sign * value for value in SADDLE))
    largest, smallest = (2.0, -9.0) if sign > 0 else (9.0, -2.0)
    assert dominant_eigenvalue(loss, 0) == pytest.approx(largest, rel=1e-9)
    blocks = {"a": loss.matrix[:3, :3], "b": loss.matrix[3:, 3:]}
    for whole in (64, 2):
        found = spectrum_of(loss, 0, whole)
        assert (float(found.values[0]), float(found.values[-1])) == pytest.approx((largest, smallest), rel=1e-9)
        for name, block in blocks.items():
            values = torch.linalg.eigvalsh(block)
            assert found.groups[name] == pytest.approx(float(values.max()), rel=1e-9)
    if sign > 0:
        bent = [torch.linalg.eigvalsh(block) for block in blocks.values()]
        assert all(float(values.abs().max()) > float(values.max()) for values in bent), "of each group, too"


def test_it_goes_into_the_records(tmp_path: Any) -> None:
    settings = {
        "search.diagnostics": ["eigenvalue"], "search.epochs": 2, "search.images_per_half": 40, "search.batch_size": 20,
        "space.channels": 2, "space.cells": 1,
    }  # fmt: skip
    found = poise.search("digits", space="nasbench201", method="darts", settings=settings, out=tmp_path / "run")
    plain = poise.search("digits", space="nasbench201", method="darts", settings=settings | {"search.diagnostics": []})
    assert all(isinstance(record["eigenvalue"], float) for record in found.history)
    assert "eigenvalue" not in plain.history[0]
    assert found.history[0]["alphas"] == plain.history[0]["alphas"], "measuring changes nothing"
    assert found.history[-1]["alphas"]["cell"] == found.alphas["cell"].tolist()
    with pytest.raises(poise.Refused, match="unknown diagnostic 'eigenvalu'; did you mean 'eigenvalue'"):
        poise.search("digits", settings={"search.diagnostics": ["eigenvalu"]}, out=tmp_path / "no")
    assert not (tmp_path / "no").exists()
