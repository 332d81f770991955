"""Mixed cells of any shape: float64 against the textbook, and float32, by the kernels used there, against float64."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from full import FULL
from poise.spaces import Darts, ImageShape, NasBench201
from poise.spaces.execution import Execution, use
from poise.supernet import depthwise, products
from poise.supernet.groups import ChoiceGroup
from poise.supernet.narrowing import without
from textbook.supernets import state_of, textbook
from textbook.weights import randomise

EXECUTIONS = st.sampled_from(("normed", "stacked"))
KINDS = ("dense", "softmax", "zeros", "one-hot")


def mixture_of(kind: str, shape: tuple[int, ...]) -> Tensor:
    values = torch.randn(shape, dtype=torch.float64)
    if kind == "softmax":
        return values.softmax(dim=-1)
    if kind == "zeros":
        return values * (torch.rand(shape) < 0.5)
    if kind == "one-hot":
        return F.one_hot(values.argmax(dim=-1), shape[-1]).double()
    return values


@st.composite
def searched(draw: Any) -> tuple[Darts | NasBench201, tuple[ChoiceGroup, ...]]:
    """A small space, and groups with some of its candidates."""
    channels = draw(st.integers(1, 3))
    space = Darts(channels, draw(st.integers(3, 4))) if draw(st.booleans()) else NasBench201(channels, 1)
    names = space.groups[0].rows[0].candidates
    left_out = draw(st.lists(st.sampled_from(names), max_size=len(names) - 2, unique=True))
    return space, without(space.groups, left_out)


def laid_out(module: nn.Module, images: Tensor, last: bool) -> tuple[nn.Module, Tensor]:
    layout = torch.channels_last if last else torch.contiguous_format
    return module.to(memory_format=layout), images.contiguous(memory_format=layout)  # type: ignore[call-overload]


CASE = {
    "searched": searched(),
    "batch": st.integers(3, 5),
    "size": st.tuples(st.integers(8, 13), st.integers(8, 13)),
    "kind": st.sampled_from(KINDS),
    "last": st.booleans(),
    "seed": st.integers(0, 9999),
}


@settings(max_examples=40 if FULL else 12, deadline=None)
@given(**CASE, training=st.booleans(), execution=EXECUTIONS)
def test_float64_equals_the_textbook(
    searched: tuple[Darts | NasBench201, tuple[ChoiceGroup, ...]],
    batch: int,
    size: tuple[int, int],
    kind: str,
    last: bool,
    seed: int,
    training: bool,
    execution: Execution,
) -> None:
    torch.manual_seed(seed)
    space, groups = searched
    supernet = randomise(space.supernet(ImageShape(2, size, 3), groups)).train(training)
    use(supernet, execution)
    state = state_of(supernet)
    images = torch.randn(batch, 2, *size, dtype=torch.float64)
    supernet, images = laid_out(supernet, images, last)
    mixture = {g.name: mixture_of(kind, (g.layers, *g.shape)).requires_grad_() for g in groups}
    copies = {name: value.detach().clone().requires_grad_() for name, value in mixture.items()}
    found, expected = supernet(images, mixture), textbook(space, state, images, copies, training, groups)
    assert relative(found, expected) < 1e-9
    found.square().sum().backward()
    expected.square().sum().backward()
    assert relative(joined(mixture), joined(copies)) < 1e-9
    weights = {name: weight for name, weight in supernet.named_parameters() if weight.grad is not None}
    assert relative(joined(weights), joined({name: state[name] for name in weights})) < 1e-9
    for name, buffer in supernet.named_buffers():
        torch.testing.assert_close(buffer.double(), state[name].double(), rtol=1e-9, atol=1e-9)


def joined(values: Mapping[str, Tensor]) -> Tensor:
    """All gradients as one vector; a missing one is 0."""
    return torch.cat([(torch.zeros_like(v) if v.grad is None else v.grad).flatten().double() for v in values.values()])


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-2))


@pytest.mark.parametrize("worth", [0, 2**60])
@settings(max_examples=20 if FULL else 6, deadline=None)
@given(
    channels=st.integers(1, 5),
    reduction=st.booleans(),
    batch=st.integers(4, 6),
    size=st.tuples(st.integers(7, 12), st.integers(7, 12)),
    kind=st.sampled_from(KINDS),
    last=st.booleans(),
    seed=st.integers(0, 9999),
    execution=EXECUTIONS,
)
def test_float32_of_one_cell(
    worth: int,
    channels: int,
    reduction: bool,
    batch: int,
    size: tuple[int, int],
    kind: str,
    last: bool,
    seed: int,
    execution: Execution,
) -> None:
    """Through one cell; a deep supernet at its start amplifies any rounding, the textbook's as well."""
    torch.manual_seed(seed)
    space = Darts(channels, 3)
    net: Any = randomise(space.supernet(ImageShape(2, size, 3)))
    use(net, execution)
    cell = net.cells[1 if reduction else 0]
    exact = copy.deepcopy(cell)
    inputs = [torch.randn(batch, width, *size, dtype=torch.float64) for width in channels_in(cell)]
    mixture = mixture_of(kind, space.groups[0].shape).requires_grad_()
    cell = cell.float()
    low = [value.float() for value in inputs]
    for index, value in enumerate(low):
        cell, low[index] = laid_out(cell, value, last)
    shares = mixture.detach().float().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "WORTH", worth)
        patch.setattr(depthwise, "WORTH", worth)
        found = cell(*low, shares)
        upstream = torch.randn_like(found)
        (found * upstream).sum().backward()
    expected = exact(*inputs, mixture)
    (expected * upstream).sum().backward()
    assert relative(found, expected.detach()) < 1e-4
    assert relative(joined({"": shares}), joined({"": mixture})) < 1e-4
    assert relative(joined(dict(cell.named_parameters())), joined(dict(exact.named_parameters()))) < 1e-4
    for buffer, other in zip(cell.buffers(), exact.buffers(), strict=True):
        assert relative(buffer, other.double()) < 1e-4


def channels_in(cell: Any) -> list[int]:
    bodies = (cell.first, cell.second)
    return [(body.conv if hasattr(body, "conv") else body.even).in_channels for body in bodies]


@pytest.mark.parametrize("space", [Darts(2, 3), NasBench201(2, 1)], ids=["darts", "nasbench201"])
def test_candidates_of_weight_zero_are_not_computed(space: Darts | NasBench201) -> None:
    """Whatever they hold: nothing of it may be read where no gradient flows to the mixture."""
    torch.manual_seed(0)
    supernet: Any = randomise(space.supernet(ImageShape(3, (8, 8), 4)))
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    mixture = {g.name: mixture_of("one-hot", (g.layers, *g.shape)) for g in space.groups}
    expected = copy.deepcopy(supernet)(images, mixture)
    layers = {name: iter(values) for name, values in mixture.items()}
    for cell in supernet.cells:
        if not hasattr(cell, "edges"):
            continue
        name = space.groups[1].name if getattr(cell, "stride", 1) == 2 else space.groups[0].name
        for row, candidates in zip(next(layers[name]), cell.edges.children(), strict=True):
            for weight, candidate in zip(row, candidates.children(), strict=True):
                if weight == 0:
                    for value in candidate.parameters():
                        value.data.fill_(torch.nan)
    assert torch.equal(supernet(images, mixture), expected)
