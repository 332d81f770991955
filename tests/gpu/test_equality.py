"""What a GPU computes is what a CPU computes in float64: both executions, every method."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gpu.gpu_support import TESTED, assert_near, small, standing, stepper
from poise.bench.stepper import NORMED, STACKED, Variant
from poise.methods import METHODS
from poise.spaces import ImageShape
from poise.spaces.execution import use
from poise.supernet.groups import expand

EXECUTIONS = ("normed", "stacked")
MORE = ("s1", "s2", "s3", "nasbench1shot1-1")
EXACT = 1e-9
SINGLE = 2e-3
"""Of float32: rounding at the start of a supernet grows on its way through."""


def passed(space: str, device: str, dtype: torch.dtype, execution: str) -> dict[str, Tensor]:
    """Logits, gradients of weights and of every layer's mixture, and buffers after one pass."""
    torch.manual_seed(0)
    built = small(space)
    supernet = built.supernet(ImageShape(3, (8, 8), 5)).double()
    images, labels = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)
    alphas = {group.name: torch.randn(group.shape, dtype=torch.float64) for group in built.groups}
    supernet = supernet.to(device, dtype).to(memory_format=torch.channels_last)
    use(supernet, execution)
    mixed = {name: values.to(device, dtype).softmax(1) for name, values in alphas.items()}
    mixture = {name: values.detach().requires_grad_() for name, values in expand(mixed, built.groups).items()}
    logits = supernet(images.to(device, dtype), mixture)
    weights = dict(supernet.named_parameters())
    loss = F.cross_entropy(logits, labels.to(device))
    gradients = torch.autograd.grad(
        loss, [*weights.values(), *mixture.values()], materialize_grads=True, allow_unused=True
    )
    found = {
        "logits": logits,
        **dict(zip([*weights, *mixture], gradients, strict=True)),
        **dict(supernet.named_buffers()),
    }
    return {name: values.detach().cpu() for name, values in found.items()}


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("space", [*TESTED, *MORE])
def test_a_pass(device: str, space: str, execution: str) -> None:
    expected = passed(space, "cpu", torch.float64, "normed")
    assert_near(passed(space, device, torch.float64, execution), expected, EXACT)
    single = passed(space, device, torch.float32, execution)
    assert_near({"logits": single["logits"]}, {"logits": expected["logits"]}, SINGLE)


@cache
def after_two_steps(space: str, method: str, device: str, variant: Variant) -> dict[str, Tensor]:
    steps = stepper(space, method, device, "64", variant)
    steps.step()
    steps.step()
    return standing(steps)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("space", TESTED)
@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].build().trains_alphas(50)])
def test_steps_of_every_method(device: str, space: str, method: str, execution: str) -> None:
    # On a CPU, and there alone, `normed` leaves out candidates without weight, and with them their running statistics.
    variant = NORMED if execution == "normed" and device != "cpu" else STACKED
    expected = after_two_steps(space, method, "cpu", STACKED)
    assert_near(after_two_steps(space, method, device, variant), expected, 1e-6)  # finite differences lose digits
