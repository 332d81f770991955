"""Launches are counted as by hand, on any device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from poise.bench.launches import SMALL, Launches, stored_bytes


def counted(work: Callable[[], object]) -> Launches:
    with Launches() as found:
        work()
    return found


def conv_norm_relu(device: str, frozen: bool) -> dict[str, int]:
    images = torch.ones(2, 3, 8, 8, device=device)
    weight = torch.ones(4, 3, 3, 3, device=device, requires_grad=True)
    bias = torch.ones(4, device=device, requires_grad=not frozen)

    def work() -> None:
        mapped = F.conv2d(images, weight, bias, padding=1)
        out = F.batch_norm(mapped, None, None, training=True).relu()
        torch.autograd.grad(out.sum(), [weight] if frozen else [weight, bias])

    return dict(counted(work).of)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_convolution_a_normalisation_and_a_relu_by_hand(device: str) -> None:
    expected = {
        "convolution": 1,
        "native_batch_norm": 2,
        "relu": 1,
        "sum": 1,
        "ones_like": 1,  # where the backward pass begins; that of the sum only expands it
        "threshold_backward": 1,
        "native_batch_norm_backward": 2,
        "convolution_backward": 2,  # of weight and bias; the images need none
    }
    assert conv_norm_relu(device, frozen=False) == expected
    assert conv_norm_relu(device, frozen=True) == expected | {"convolution_backward": 1}


def test_what_computes_nothing_launches_nothing() -> None:
    x = torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)

    def work() -> None:
        x.detach().permute(0, 2, 3, 1).view(6, 16).t().unsqueeze(0).expand(2, 16, 6)[0].reshape(16, 6)
        x.permute(0, 2, 3, 1).flatten(0, 2).split(4)
        torch.empty_like(x), x.new_empty(3), torch.empty(2)

    assert counted(work).kernels == 0
    assert counted(lambda: x.contiguous()).of == {"clone": 1}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("work", "kernels"),
    [
        (lambda one, two: torch._foreach_mul_(one, 2.0), 2),  # 200 tensors, 110 at a time
        (lambda one, two: torch._foreach_mul_(one, torch.ones((), device=one[0].device)), 3),  # and the factor
        (lambda one, two: torch._foreach_add_(one, two), 4),  # 64 at a time
        (lambda one, two: torch._foreach_add(one, two), 5),  # 48: with the results three lists
        (lambda one, two: torch._foreach_addcmul_(one, two, two), 5),
    ],
)
def test_lists_go_together_as_far_as_a_kernel_takes_them(
    device: str, work: Callable[[list[Tensor], list[Tensor]], object], kernels: int
) -> None:
    one, two = ([torch.ones(3, 2, device=device) for _ in range(200)] for _ in range(2))
    assert counted(lambda: work(one, two)).kernels == kernels


def test_one_tensor_that_lies_otherwise_takes_its_list_apart() -> None:
    one, two = ([torch.ones(3, 2) for _ in range(200)] for _ in range(2))
    two[150] = torch.ones(2, 3).t()
    assert counted(lambda: torch._foreach_add_(one, two)).kernels == 200


def test_fused_optimizers() -> None:
    weights = [torch.ones(2, requires_grad=True) for _ in range(200)]
    for weight in weights:
        weight.grad = torch.ones(2)
    sgd = torch.optim.SGD(weights, 0.1, momentum=0.9, fused=True)
    adam = torch.optim.Adam(weights, fused=True)
    sgd.step()
    adam.step()
    assert counted(sgd.step).of == {"_fused_sgd_": 5}  # weights, gradients, momentum: 48 at a time
    found = counted(adam.step).of
    assert found["_fused_adam_"] == 6  # weights, gradients, two moments: 36 at a time
    assert found["_foreach_add_"] == 2


def test_bytes_are_what_is_stored_and_small_kernels_are_told_apart() -> None:
    large, small = torch.ones(SMALL), torch.ones(4)

    def work() -> None:
        large * 2
        small.expand(1000, 4) * 2.0

    found = counted(work)
    assert (found.kernels, found.small) == (2, 1)
    assert found.bytes == 2 * 4 * SMALL + 4 * 4 + 4 * 4000
    assert stored_bytes(small.expand(1000, 4)) == 16
    assert stored_bytes(torch.empty(0, 3)) == 0
