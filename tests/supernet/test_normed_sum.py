"""The sum that candidates end in, against convolution and batch normalisation one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from poise.spaces.normed import Source, depthwise
from poise.supernet.depthwise import from_grids, to_grids
from poise.supernet.normed_sum import Term, moments, normed_sum


def plain(terms: list[Term], mixture: Tensor, rectify: bool) -> Tensor:
    total = torch.zeros(())
    for p, term in zip(mixture, terms, strict=True):
        y = term.feature if term.weight is None else F.conv2d(term.feature, term.weight)
        total = total + p * (y if term.norm is None else term.norm(y))
    return F.relu(total) if rectify else total


def some_terms(kinds: list[tuple[int, bool, bool]], size: tuple[int, int, int], train: bool, dtype: torch.dtype) -> Any:
    """Terms of ``C = 4``; a kind is (channels of the feature, mapped, normed)."""
    batch, height, width = size
    terms = []
    for channels, mapped, normed in kinds:
        channels = channels if mapped else 4
        feature = torch.randn(batch, channels, height, width, dtype=dtype) + 0.5
        norm = nn.BatchNorm2d(4, affine=False).to(dtype).train(train)
        norm.running_mean.normal_()  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        weight = torch.randn(4, channels, 1, 1, dtype=dtype).requires_grad_() if mapped else None
        terms.append(Term(feature.requires_grad_(), weight, norm if normed else None))
    return terms


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().norm() / expected.detach().norm().clamp(min=1e-3))


def compare(terms: list[Term], train: bool, rectify: bool, tolerance: float, zeros: bool = False) -> None:
    dtype = terms[0].feature.dtype
    others = [Term(t.feature, t.weight, copy.deepcopy(t.norm)) for t in terms]
    mixture = torch.rand(len(terms), dtype=dtype)
    if zeros:
        mixture[0] = 0
    mixture.requires_grad_()
    found, expected = normed_sum(terms, mixture, rectify), plain(others, mixture, rectify)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert relative(found, expected) < tolerance
    inputs = [mixture, *(t.feature for t in terms), *(t.weight for t in terms if t.weight is not None)]
    upstream = torch.randn_like(expected)
    for got, wanted in zip(
        torch.autograd.grad((found * upstream).sum(), inputs),
        torch.autograd.grad((expected * upstream).sum(), inputs),
        strict=True,
    ):
        assert relative(got, wanted) < tolerance
    for term, other in zip(terms, others, strict=True):
        if term.norm is not None and other.norm is not None:
            for name, buffer in other.norm.named_buffers():
                assert torch.allclose(dict(term.norm.named_buffers())[name], buffer, rtol=tolerance, atol=tolerance)


KINDS = st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    kinds=KINDS,
    size=st.tuples(st.integers(2, 3), st.integers(1, 7), st.integers(1, 9)),
    train=st.booleans(),
    rectify=st.booleans(),
    zeros=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_equals_convolution_and_normalisation_one_by_one(
    kinds: Any, size: Any, train: bool, rectify: bool, zeros: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    terms = some_terms(kinds, size, train, torch.float64)
    tight = size[0] * size[1] * size[2] < 8  # with a few pixels a variance can be tiny, and 1/sqrt of it steep
    compare(terms, train, rectify, 1e-6 if tight else 1e-9, zeros)


@pytest.mark.parametrize("size", [(4, 40, 30), (2, 33, 35)])
@pytest.mark.parametrize("train", [True, False])
def test_sums_over_many_pixels(size: tuple[int, int, int], train: bool) -> None:
    torch.manual_seed(0)
    kinds = [(4, False, True), (4, False, False), (3, True, True), (6, True, True)]
    compare(some_terms(kinds, size, train, torch.float64), train, False, 1e-10)
    compare(some_terms(kinds, size, train, torch.float32), train, True, 1e-4)


def test_moments_given_are_moments_used() -> None:
    torch.manual_seed(0)
    (term,) = some_terms([(4, True, True)], (3, 5, 5), True, torch.float64)
    shared = Term(term.feature, term.weight, copy.deepcopy(term.norm), moments(term.feature, True))
    assert torch.equal(normed_sum([term]), normed_sum([shared]))


def test_reduced_precision_features_are_summed_exactly() -> None:
    torch.manual_seed(0)
    terms = some_terms([(5, True, True), (4, False, True)], (4, 9, 9), True, torch.float32)
    low = [Term(t.feature.detach().bfloat16(), t.weight, copy.deepcopy(t.norm)) for t in terms]
    high = [Term(t.feature.float(), t.weight, copy.deepcopy(t.norm)) for t in low]
    with torch.autocast("cpu", torch.bfloat16):
        found = normed_sum(low)
    assert found.dtype == torch.float32
    assert torch.equal(found, normed_sum(high))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("stride", "size"), [(1, (8, 6)), (1, (7, 6)), (2, (8, 6)), (2, (7, 9))])
def test_dilated_convolution_on_sub_grids(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 3, kernel, stride, kernel // 2 * 2, dilation=2, groups=3, bias=False).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    found, cut = depthwise(conv, Source(x, stride, True))
    assert cut == (stride == 1 and size == (8, 6))
    torch.testing.assert_close(from_grids(found) if cut else found, conv(F.relu(x)), rtol=1e-12, atol=1e-12)


def test_grids_come_back() -> None:
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(from_grids(to_grids(x)), x)
    assert torch.equal(to_grids(x)[2:4], x[:, :, ::2, 1::2])
