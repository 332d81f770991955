"""poise's supernets against the textbook's: outputs, weight and mixture gradients, running statistics, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from full import FULL
from poise.spaces import S1, S2, S3, Darts, ImageShape, NasBench201
from poise.spaces.execution import Execution, use
from poise.spaces.operations import NASBENCH201_OPERATIONS, OPERATIONS
from poise.supernet.narrowing import without
from textbook.operations import avg_pool, darts_operation, factorized_reduce, max_pool, nasbench201_operation
from textbook.supernets import ceil_mean_2x2, state_of, textbook
from textbook.weights import randomise

Mixtures = Callable[[tuple[int, ...]], Tensor]


def close(actual: Tensor, expected: Tensor, what: str = "") -> None:
    """Equal to 1e-10 of the largest entry."""
    assert actual.shape == expected.shape, what
    actual, expected = actual.detach(), expected.detach()
    scale = max(float(expected.abs().max()), 1.0) if expected.numel() else 1.0
    assert float((actual - expected).abs().max()) <= 1e-10 * scale, what


def dense(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def softmaxed(shape: tuple[int, ...]) -> Tensor:
    return torch.softmax(dense(shape), dim=-1)


def with_zeros(shape: tuple[int, ...]) -> Tensor:
    return dense(shape) * (torch.rand(shape) < 0.5)


def one_hots(shape: tuple[int, ...]) -> Tensor:
    return F.one_hot(torch.randint(shape[-1], shape[:-1]), shape[-1]).double()


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "noise"])
@pytest.mark.parametrize("training", [True, False])
def test_darts_operation(name: str, stride: int, size: tuple[int, int], training: bool) -> None:
    torch.manual_seed(0)
    module = randomise(OPERATIONS[name](4, stride, True)).train(training)
    x = torch.randn(3, 4, *size, dtype=torch.float64)
    state = {f"it.{key}": value for key, value in state_of(module).items()}
    actual, expected = module(x), darts_operation(state, "it", name, x, stride, training)
    assert actual.shape == (3, 4, -(-size[0] // stride), -(-size[1] // stride))
    close(actual, expected)
    for key, value in module.state_dict().items():
        close(value.double(), state[f"it.{key}"].double(), key)


@pytest.mark.parametrize("name", NASBENCH201_OPERATIONS)
def test_nasbench201_operation(name: str) -> None:
    torch.manual_seed(0)
    module = randomise(NASBENCH201_OPERATIONS[name](4, 1, True))
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    state = {f"it.{key}": value for key, value in state_of(module).items()}
    close(module(x), nasbench201_operation(state, "it", name, x, True))


CASES = {
    "darts": (Darts(2, 5), (2, 3, 7, 9), dense),
    "darts softmax even": (Darts(2, 3), (3, 1, 8, 8), softmaxed),
    "darts zeros": (Darts(2, 4), (2, 3, 5, 8), with_zeros),
    "darts one-hot": (Darts(2, 4), (2, 3, 9, 7), one_hots),
    "darts without none": (Darts(2, 3), (2, 3, 7, 9), dense, ("none", "max_pool_3x3")),
    "darts eight cells": (Darts(2, 8), (2, 3, 7, 9), softmaxed, ("sep_conv_5x5", "dil_conv_5x5")),
    "darts partial": (Darts(4, 4, 2), (2, 3, 7, 9), dense),
    "darts partial softmax": (Darts(4, 5, 4), (2, 3, 8, 8), softmaxed),
    "darts partial zeros": (Darts(6, 3, 3), (2, 3, 6, 5), with_zeros),
    "nasbench201 partial": (NasBench201(4, 1, 4), (2, 3, 7, 9), dense),
    "nasbench201 partial zeros": (NasBench201(4, 2, 2), (2, 3, 6, 6), with_zeros),
    "s3 partial": (S3(4, 4, 4), (2, 3, 8, 6), dense),
    "s1": (S1(2, 4), (2, 3, 7, 9), dense),
    "s2": (S2(3, 4), (4, 3, 6, 6), dense),
    "s3": (S3(2, 4), (2, 3, 7, 9), with_zeros),
    "nasbench201": (NasBench201(2, 2), (2, 3, 7, 9), dense),
    "nasbench201 softmax even": (NasBench201(3, 1), (3, 1, 8, 8), softmaxed),
    "nasbench201 zeros": (NasBench201(2, 1), (2, 3, 5, 6), with_zeros),
    "nasbench201 one-hot": (NasBench201(2, 2), (2, 3, 9, 7), one_hots),
    "nasbench201 without none": (NasBench201(2, 1), (2, 3, 6, 5), dense, ("none",)),
}


EXECUTIONS = ("normed", "stacked")


@pytest.mark.parametrize(
    ("case", "training", "execution"),
    [
        (case, training, execution)
        for number, case in enumerate(CASES)
        for training in (True, False)
        for turn, execution in enumerate(EXECUTIONS)
        if FULL or training or number % 2 == turn
    ],
)
def test_supernet(case: str, training: bool, execution: Execution) -> None:
    """Of a sample, the executions take turns where nothing is trained."""
    space, shape, draw, *left_out = CASES[case]
    groups = without(space.groups, *left_out or [()])
    torch.manual_seed(1)
    supernet = randomise(space.supernet(ImageShape(shape[1], shape[2:], 5), groups)).train(training)
    use(supernet, execution)
    images = torch.randn(shape, dtype=torch.float64)
    mixture = {g.name: draw((g.layers, *g.shape)).requires_grad_() for g in groups}
    copies = {name: value.detach().clone().requires_grad_() for name, value in mixture.items()}
    state = state_of(supernet)
    upstream = torch.randn(shape[0], 5, dtype=torch.float64)

    actual = supernet(images, mixture)
    expected = textbook(space, state, images, copies, training, groups)
    close(actual, expected, "logits")
    (actual * upstream).sum().backward()
    (expected * upstream).sum().backward()

    for name in mixture:
        close(mixture[name].grad, copies[name].grad, f"gradient of the mixture {name}")
    for name, weight in supernet.named_parameters():
        missing = torch.zeros_like(weight)
        close(
            weight.grad if weight.grad is not None else missing,
            state[name].grad if state[name].grad is not None else missing,
            name,
        )
    for name, buffer in supernet.named_buffers():
        close(buffer.double(), state[name].double(), name)


@pytest.mark.parametrize("case", ["darts zeros", "nasbench201 one-hot"])
def test_without_a_mixture_gradient_the_numbers_are_the_same(case: str) -> None:
    """Candidates of weight 0 are then skipped: outputs and weight gradients must not show it."""
    space, shape, draw = CASES[case]
    torch.manual_seed(2)
    supernet = randomise(space.supernet(ImageShape(shape[1], shape[2:], 5)))
    images = torch.randn(shape, dtype=torch.float64)
    mixture = {g.name: draw((g.layers, *g.shape)) for g in space.groups}
    state = state_of(supernet)
    actual, expected = supernet(images, mixture), textbook(space, state, images, mixture, True)
    close(actual, expected)
    actual.square().sum().backward()
    expected.square().sum().backward()
    for name, weight in supernet.named_parameters():
        if weight.grad is None:
            assert not state[name].grad.any(), name
        else:
            close(weight.grad, state[name].grad, name)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_bfloat16_is_near(execution: Execution) -> None:
    torch.manual_seed(0)
    exact = Darts(4, 3).supernet(ImageShape(3, (8, 8), 4))
    images = torch.randn(8, 3, 8, 8)
    mixture = {g.name: torch.rand(g.layers, *g.shape) for g in exact.groups}
    fast = copy.deepcopy(exact)
    use(fast, execution)
    expected = exact(images, mixture)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fast(images, mixture)
    assert float((found.float() - expected).norm()) < 0.05 * float(expected.norm())
    assert not torch.equal(found.float(), expected)
    for name, buffer in fast.named_buffers():
        torch.testing.assert_close(buffer, exact.get_buffer(name), rtol=0.05, atol=0.05, msg=name)


def test_layers_have_mixtures_of_their_own() -> None:
    """The gradient of a shared mixture is the sum over layers of the separate ones."""
    space = NasBench201(2, 1)
    torch.manual_seed(0)
    supernet = randomise(space.supernet(ImageShape(3, (6, 6), 3)))
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    shared = softmaxed((6, 5)).requires_grad_()
    (whole,) = torch.autograd.grad(supernet(images, {"cell": shared.expand(3, 6, 5)}).square().sum(), shared)
    separate = shared.detach().expand(3, 6, 5).clone().requires_grad_()
    (layers,) = torch.autograd.grad(supernet(images, {"cell": separate}).square().sum(), separate)
    close(layers.sum(dim=0), whole)
    assert float((layers[0] - layers[1]).abs().max()) > 1e-3


def test_the_textbook_by_hand() -> None:
    """The oracle itself on numbers small enough to check by hand."""
    x = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)
    assert avg_pool(x, 2).flatten().tolist() == [3.0, 4.0, 6.0, 7.0]  # corners: the mean of 4 pixels
    assert max_pool(-x, 2).flatten().tolist() == [-1.0, -2.0, -4.0, -5.0]  # padding is no 0
    assert ceil_mean_2x2(x).flatten().tolist() == [3.0, 4.5, 7.5, 9.0]
    state = {
        "f.even.weight": torch.ones(1, 1, 1, 1, dtype=torch.float64),
        "f.odd.weight": 2 * torch.ones(1, 1, 1, 1, dtype=torch.float64),
        "f.norm.running_mean": torch.zeros(2, dtype=torch.float64),
        "f.norm.running_var": torch.ones(2, dtype=torch.float64) - 1e-5,
    }
    halves = factorized_reduce(state, "f", x, training=False)[0]
    close(halves[0], torch.tensor([[1.0, 3.0], [7.0, 9.0]], dtype=torch.float64))
    close(halves[1], torch.tensor([[10.0, 0.0], [0.0, 0.0]], dtype=torch.float64))
