"""The exact spectrum against double backward written out, on a smooth net and on a real supernet, in float64."""

from __future__ import annotations

import pytest
import torch
from diagnostics_support import alphas_of, cell_searcher, loss_by_hand, smooth_searcher
from torch import Tensor, nn
from torch.nn import functional as F

import poise
from poise.diagnostics.diagnostic import Subject
from poise.diagnostics.sharpness import spectrum_of
from poise.diagnostics.spectrum import SpectrumOf
from poise.diagnostics.vector import SearchLoss
from poise.engine.searcher import Searcher
from poise.spaces import NasBench201
from textbook.supernets import state_of, textbook


def exact(found: Searcher, batches: int) -> Tensor:
    return torch.func.hessian(lambda point: loss_by_hand(found, batches, point))(alphas_of(found))


@pytest.mark.parametrize("batches", [1, 3])
def test_the_whole_matrix(batches: int) -> None:
    found = smooth_searcher()
    expected = exact(found, batches)
    loss = SearchLoss(found, batches)
    torch.testing.assert_close(loss.hessian(loss.point), expected, atol=1e-12, rtol=1e-9)
    values, vectors = torch.linalg.eigh(expected)
    got = spectrum_of(loss, 0)
    assert got.whole
    torch.testing.assert_close(got.values, values.flip(0), atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(got.vectors[:, 0].abs(), vectors[:, -1].abs(), atol=1e-8, rtol=1e-6)
    blocks = (expected[:2, :2], expected[2:, 2:])
    for value, block in zip(got.groups.values(), blocks, strict=True):
        assert value == pytest.approx(float(torch.linalg.eigvalsh(block.detach()).max()), rel=1e-9)


def test_lanczos_where_the_matrix_is_large() -> None:
    found = smooth_searcher()
    loss = SearchLoss(found, 2)
    whole, steps = spectrum_of(loss, 0), spectrum_of(loss, 0, whole=4)
    assert whole.whole
    assert not steps.whole
    assert steps.values[0] == pytest.approx(float(whole.values[0]), rel=1e-9)
    assert steps.values[-1] == pytest.approx(float(whole.values[-1]), rel=1e-9)
    assert steps.groups == pytest.approx(whole.groups, rel=1e-9)
    torch.testing.assert_close(steps.vectors[:, 0].abs(), whole.vectors[:, 0].abs(), atol=1e-7, rtol=1e-6)


def test_a_real_supernet() -> None:
    """The fast execution's Hessian is the textbook's."""
    found = cell_searcher()
    state = state_of(found.supernet)
    space = NasBench201(channels=2, cells=1)
    data = list(found.searching.ordered())[:2]

    def loss(point: Tensor) -> Tensor:
        mixture = {"cell": torch.softmax(point.view(6, 5), dim=1).expand(3, 6, 5)}
        values = [F.cross_entropy(textbook(space, state, images, mixture, True), labels) for images, labels in data]
        return torch.stack(values).mean()

    expected = torch.autograd.functional.hessian(loss, alphas_of(found))
    assert expected.abs().max() > 1e-4
    subject = Subject(found)
    torch.testing.assert_close(subject.loss.hessian(subject.loss.point), expected, atol=1e-10, rtol=1e-7)
    numbers = SpectrumOf()(subject).numbers
    values = torch.linalg.eigvalsh(expected)
    assert numbers["spectrum/largest"] == pytest.approx(float(values[-1]), rel=1e-6)
    assert numbers["spectrum/smallest"] == pytest.approx(float(values[0]), rel=1e-6)


def test_the_loss_is_the_mean_over_batches_and_its_gradient_its_own() -> None:
    found = smooth_searcher()
    loss = SearchLoss(found, 2)
    point = (alphas_of(found) + 0.1).requires_grad_()
    by_hand = loss_by_hand(found, 2, point)
    assert loss.value(point.detach()) == pytest.approx(float(by_hand), rel=1e-12)
    torch.testing.assert_close(loss.gradient(point), torch.autograd.grad(by_hand, point)[0], atol=1e-12, rtol=1e-9)
    assert len(SearchLoss(found, 100)) == 3, "as many as there are"


class OnceOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return 2 * gradient


class Once(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return OnceOnly.apply(x)


def test_a_module_without_second_derivatives_is_refused() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 10)
    module = nn.Sequential(nn.Flatten(), poise.Choice({"a": linear, "b": nn.Linear(64, 10)}), Once())
    settings = {"search.epochs": 1, "search.images_per_half": 20, "search.batch_size": 20}
    result = poise.search(module, "digits", method="darts", settings=settings)
    with pytest.raises(poise.Refused, match="cannot be differentiated twice"):
        poise.diagnose(result, ["spectrum"])
    assert poise.diagnose(result, ["eigenvalue"]).numbers["eigenvalue"] != 0
