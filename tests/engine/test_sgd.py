"""The optimizers of weights and alphas against torch's plain ones, whatever layout a gradient comes in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from poise.engine.checkpoint import decode, encode
from poise.engine.settings import AlphaSettings, WeightSettings
from poise.engine.sgd import (
    adam,
    clipped_step,
    learning_rate_of,
    optimizer_state,
    restore_optimizer,
    set_learning_rate,
    sgd,
)
from poise.supernet.layout import laid_out

SHAPES = {"full": (4, 3, 3, 3), "pointwise": (4, 5, 1, 1), "depthwise": (4, 1, 3, 3), "bias": (4,), "one": ()}


def weights_of(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Images' weights lie channels last."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in SHAPES.items():
        values = torch.randn(shape, generator=generator, dtype=dtype)
        found[name] = values.to(memory_format=torch.channels_last) if values.ndim == 4 else values
    return {name: values.requires_grad_() for name, values in found.items()}


def gradients_of(weights: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    """Those of four dimensions come as they may: contiguous, or turned around."""
    generator = torch.Generator().manual_seed(step)
    found = {}
    for name, weight in weights.items():
        values = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        found[name] = values.transpose(0, 1).contiguous().transpose(0, 1) if step % 2 and values.ndim == 4 else values
    return found


def moved(optimizer: Any, weights: dict[str, Tensor], steps: range) -> None:
    for step in steps:
        gradients = gradients_of(weights, step)
        set_learning_rate(optimizer, 0.1 / (step + 1))
        norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        clipped_step(optimizer, weights, gradients, norm, 3.0)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_is_torchs_plain_sgd_with_clipped_gradients(momentum: float, nesterov: bool) -> None:
    form = WeightSettings(momentum=momentum, nesterov=nesterov and momentum > 0, weight_decay=0.01)
    weights, plain = weights_of(), weights_of()
    moved(sgd(weights, form, torch.zeros(())), weights, range(4))
    textbook = torch.optim.SGD(
        plain.values(), 0.1, momentum, weight_decay=0.01, nesterov=form.nesterov, foreach=False, fused=False
    )
    for step in range(4):
        for name, gradient in gradients_of(plain, step).items():
            plain[name].grad = gradient.contiguous()
        torch.nn.utils.clip_grad_norm_(plain.values(), 3.0)
        textbook.param_groups[0]["lr"] = 0.1 / (step + 1)
        textbook.step()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, plain[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_goes_on_from_what_it_remembered_to_the_last_bit(dtype: torch.dtype) -> None:
    form = WeightSettings()
    weights, again = weights_of(dtype), weights_of(dtype)
    optimizer = sgd(weights, form, torch.zeros(()))
    moved(optimizer, weights, range(2))
    saved = decode(encode({"sgd": optimizer_state(optimizer, weights)}))
    with torch.no_grad():
        for name, weight in weights.items():
            again[name].copy_(weight)
    going_on = sgd(again, form, torch.zeros(()))
    restore_optimizer(going_on, again, saved["sgd"])
    for one, other in ((optimizer, weights), (going_on, again)):
        moved(one, other, range(2, 4))
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_adam_is_torchs_plain_one() -> None:
    form = AlphaSettings(learning_rate=0.01)
    alphas, plain = (torch.zeros(3, 4, dtype=torch.float64).requires_grad_() for _ in range(2))
    optimizer = adam([alphas], form, torch.zeros(()))
    textbook = torch.optim.Adam([plain], 0.01, form.betas, weight_decay=form.weight_decay, foreach=False, fused=False)
    for step in range(3):
        alphas.grad = plain.grad = torch.randn(3, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        optimizer.step()
        textbook.step()
    torch.testing.assert_close(alphas, plain, rtol=1e-12, atol=1e-12)


def test_a_weight_without_a_gradient_stays() -> None:
    weights = weights_of()
    before = weights["bias"].clone()
    gradients = gradients_of(weights, 0)
    del gradients["bias"]
    clipped_step(sgd(weights, WeightSettings(), torch.zeros(())), weights, gradients, torch.ones(()), 3.0)
    assert torch.equal(weights["bias"], before)


def test_where_nothing_is_fused_it_steps_all_the_same() -> None:
    """On the meta device, where what a step computes is not known, but how much."""
    weights = {name: torch.empty(shape, device="meta").requires_grad_() for name, shape in SHAPES.items()}
    fault = torch.zeros((), device="meta")
    optimizer, alphas = sgd(weights, WeightSettings(), fault), adam(weights.values(), AlphaSettings(), fault)
    set_learning_rate(optimizer, 0.5)
    assert learning_rate_of(optimizer) == 0.5
    clipped_step(
        optimizer,
        weights,
        {name: torch.empty_like(weight) for name, weight in weights.items()},
        torch.empty((), device="meta"),
        3.0,
    )
    alphas.step()


def test_a_fault_withholds_every_update_to_the_last_bit() -> None:
    weights, fault = weights_of(), torch.zeros(())
    optimizer, other = sgd(weights, WeightSettings(), fault), adam(weights.values(), AlphaSettings(), fault)

    def state() -> bytes:
        remembered = {"sgd": optimizer_state(optimizer, weights), "adam": optimizer_state(other, weights)}
        return encode({"weights": weights, **remembered})

    moved(optimizer, weights, range(2))
    other.step()
    before = state()
    fault.fill_(1)
    moved(optimizer, weights, range(2, 3))
    other.step()
    assert state() == before
    fault.zero_()
    other.step()
    assert state() != before


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (4, 1, 2, 2), (4, 3, 1, 1), (4, 3)])
def test_a_layout_changes_no_number(shape: tuple[int, ...]) -> None:
    like = torch.empty(shape)
    if like.ndim == 4:
        like = like.to(memory_format=torch.channels_last)
    values = torch.randn(shape)
    for given in (values, values.transpose(0, 1).contiguous().transpose(0, 1), values[:1].expand(shape)):
        found = laid_out(given, like)
        assert found.stride() == like.stride()
        assert torch.equal(found, given)
