"""Second derivatives through the fast execution: against finite differences, and against the textbook's supernets."""

from __future__ import annotations

import pytest
import torch
from test_normed_sum import plain, relative, some_terms
from torch import Tensor
from torch.nn import functional as F

from poise.spaces import Darts, ImageShape, NasBench201
from poise.spaces.execution import Execution, use
from poise.supernet.depthwise import _Depthwise
from poise.supernet.groups import expand
from poise.supernet.normed_sum import Term, normed_sum
from textbook.supernets import state_of, textbook
from textbook.weights import randomise

KINDS = [(3, True, True), (4, False, True), (3, True, False), (4, False, False)]


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("train", [True, False])
def test_normed_sums(train: bool, rectify: bool) -> None:
    torch.manual_seed(0)
    terms = some_terms(KINDS, (2, 3, 3), train, torch.float64)
    # One feature is another's square: its part must not be counted twice.
    first = terms[0].feature
    terms = [terms[0], *terms[1:], Term(first.square(), terms[0].weight, terms[2].norm)]
    mixture = torch.rand(len(terms), dtype=torch.float64, requires_grad=True)
    inputs = [mixture, first, *(t.weight for t in terms[:-1] if t.weight is not None)]
    upstream = torch.randn(2, 4, 3, 3, dtype=torch.float64)

    def second(value: Tensor) -> list[Tensor]:
        gradients = torch.autograd.grad((value.square() * upstream).sum(), inputs, create_graph=True)
        bent = sum(gradient.pow(3).sum() for gradient in gradients)
        return [*gradients, *torch.autograd.grad(bent, inputs, retain_graph=True)]  # both share the square

    for got, wanted in zip(
        second(normed_sum(terms, mixture, rectify)), second(plain(terms, mixture, rectify)), strict=True
    ):
        assert relative(got, wanted) < 1e-10
        assert wanted.abs().max() > 0


def test_what_needs_no_gradient_gets_none() -> None:
    terms = some_terms(KINDS[:2], (2, 3, 3), True, torch.float64)
    fixed = [Term(term.feature.detach(), term.weight, term.norm) for term in terms]
    mixture = torch.rand(2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(normed_sum(fixed, mixture).pow(3).sum(), mixture, create_graph=True)
    assert torch.autograd.grad(gradient.sum(), mixture)[0].abs().max() > 0


def test_depthwise_convolutions() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    for dilation in (1, 2):
        assert torch.autograd.gradgradcheck(lambda *inputs, d=dilation: _Depthwise.apply(*inputs, d), (x, weight))


@pytest.mark.parametrize("execution", ["normed", "stacked"])
@pytest.mark.parametrize(
    "space", [NasBench201(channels=2, cells=1), Darts(channels=2, cells=3)], ids=["bench", "darts"]
)
def test_supernets(space: NasBench201 | Darts, execution: Execution) -> None:
    torch.manual_seed(0)
    supernet = randomise(space.supernet(ImageShape(3, (8, 8), 4)))
    use(supernet, execution)
    images, labels = torch.randn(3, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 3])
    weight = next(p for name, p in supernet.named_parameters() if "cells" in name)
    alphas = {g.name: torch.randn(g.shape, dtype=torch.float64, requires_grad=True) for g in space.groups}
    state = state_of(supernet)
    own = next(state[name] for name, p in supernet.named_parameters() if p is weight)
    relaxed = expand({name: torch.softmax(values, dim=1) for name, values in alphas.items()}, space.groups)

    def second(logits: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        inputs = [*alphas.values(), weight]
        loss = F.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, inputs, create_graph=True, retain_graph=True)
        bent = sum(gradient.pow(2).sum() for gradient in gradients)
        return torch.autograd.grad(bent, inputs, retain_graph=True)

    got = second(supernet(images, relaxed), weight)
    wanted = second(textbook(space, state, images, relaxed, True), own)
    for found, expected in zip(got, wanted, strict=True):
        assert expected.abs().max() > 0
        assert relative(found, expected) < 1e-8
