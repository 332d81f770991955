"""The kernels that the fast execution chooses on a CPU in float32, against plain sums in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from poise.supernet import depthwise, products
from poise.supernet.depthwise import depthwise_conv
from poise.supernet.pooling import average_3x3
from poise.supernet.products import add_mapped, column_sums, inner, inner_diagonal, mapped, pixels, rows


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5, scale: float = 0.0) -> None:
    """``scale``: the size of what was added up, where much of it may cancel."""
    assert found.shape == expected.shape
    error = (found.detach().double() - expected.detach()).norm()
    assert float(error) <= tolerance * max(float(expected.detach().norm()), scale) + 1e-12


def draw(batch: int, channels: int, size: tuple[int, int], last: bool) -> Tensor:
    x = torch.randn(batch, channels, *size) + 0.3
    return x.contiguous(memory_format=torch.channels_last) if last else x


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@pytest.mark.parametrize("worth", [0, 2**60])
@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 4),
    k=st.integers(1, 7),
    c=st.integers(1, 7),
    size=SIZES,
    last=st.booleans(),
    seed=st.integers(0, 999),
)
def test_products(worth: int, batch: int, k: int, c: int, size: tuple[int, int], last: bool, seed: int) -> None:
    torch.manual_seed(seed)
    feature, other, same = draw(batch, k, size, last), draw(batch, c, size, last), draw(batch, k, size, not last)
    matrix, constant = torch.randn(k, c), torch.randn(c)
    f, g = rows(feature).double(), rows(other).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "WORTH", worth)
        close(mapped(feature, matrix), f @ matrix.double())
        close(mapped(feature, matrix, constant), f @ matrix.double() + constant)
        total = torch.randn(len(f), c)
        expected = total.double() + f @ matrix.double()
        assert add_mapped(total, feature, matrix) is total
        close(total, expected)
        close(inner(feature, other), f.T @ g, scale=float(f.norm() * g.norm()))
        close(inner_diagonal(feature, same), (f * rows(same).double()).sum(dim=0), scale=float(f.norm() ** 2))
    close(column_sums(rows(feature)), f.sum(dim=0), scale=float(f.abs().sum(dim=0).norm()))
    assert torch.equal(pixels(rows(feature), feature), feature)


def test_long_sums_keep_their_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    feature = draw(64, 16, (32, 32), True) + 2
    f = rows(feature).double()
    for worth in (0, 2**60):
        monkeypatch.setattr(products, "WORTH", worth)
        close(inner(feature, feature), f.T @ f, 1e-6)
        close(inner_diagonal(feature, feature), f.square().sum(dim=0), 1e-5)
        close(column_sums(rows(feature)), f.sum(dim=0), 1e-5)


def test_float64_is_never_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "WORTH", 0)
    feature = draw(2, 3, (4, 5), True).double()
    assert mapped(feature, torch.eye(3, dtype=torch.float64)).dtype == torch.float64


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 20),
    size=SIZES,
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    last=st.booleans(),
    wanted=st.sampled_from(["both", "input", "weight"]),
    seed=st.integers(0, 999),
)
def test_depthwise(
    batch: int,
    channels: int,
    size: tuple[int, int],
    kernel: int,
    stride: int,
    last: bool,
    wanted: str,
    dilation: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    x = draw(batch, channels, size, last).requires_grad_(wanted != "weight")
    weight = torch.randn(channels, 1, kernel, kernel).requires_grad_(wanted != "input")
    exact = [x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise, "WORTH", 0)
        found = depthwise_conv(x, weight, stride, dilation)
    expected = F.conv2d(*exact, None, stride, dilation * (kernel // 2), dilation, channels)
    close(found, expected)
    upstream = torch.randn_like(found)
    (found * upstream).sum().backward()
    for value, other in zip((x, weight), torch.autograd.grad((expected * upstream).sum(), exact), strict=True):
        if value.requires_grad:
            assert value.grad is not None
            close(value.grad, other, scale=1.0)
        else:
            assert value.grad is None


@pytest.mark.parametrize("stride", [1, 2])
@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 3), channels=st.integers(1, 5), size=SIZES, last=st.booleans(), seed=st.integers(0, 999))
def test_average_pooling(stride: int, batch: int, channels: int, size: tuple[int, int], last: bool, seed: int) -> None:
    """The mean, its gradient, and that of a function of its gradient."""
    torch.manual_seed(seed)
    x = draw(batch, channels, size, last).requires_grad_()
    exact = x.detach().double().requires_grad_()
    found = average_3x3(x, stride)
    expected = F.avg_pool2d(exact, 3, stride, padding=1, count_include_pad=False)
    close(found, expected)
    upstream, gradients = torch.randn_like(found), []
    for value, leaf in ((found, x), (expected, exact)):
        (first,) = torch.autograd.grad((value.pow(3) * upstream.to(leaf)).sum(), leaf, create_graph=True)
        second = torch.autograd.grad(first.square().sum(), leaf)[0]
        gradients.append(torch.cat([first, second]).detach())
    close(*gradients, scale=1.0)
