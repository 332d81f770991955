"""Hypergradients against exact differentiation, in float64, through one real step of SGD."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from methods_support import SmoothLoss, descent, relative, smooth_mixture, smooth_weights
from torch import Tensor

from poise.errors import Refused
from poise.methods import Blank, FirstOrder, Method, Unrolled, WarmUp
from poise.methods.slots import Descent
from poise.supernet.layout import gradients


def leaves_of(mixture: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.detach().clone().requires_grad_() for name, values in mixture.items()}


def exact(search: SmoothLoss, training: SmoothLoss, mixture: dict[str, Tensor], state: Descent) -> dict[str, Tensor]:
    """``d L_val(w'(p), p) / dp`` by double backward."""
    leaves, weights = leaves_of(mixture), dict(search.own)
    gradients = torch.autograd.grad(training.value(leaves, weights), list(weights.values()), create_graph=True)
    ahead = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        step = gradient + state.weight_decay * weight
        buffer = state.momentum * state.buffers[name] + step if name in state.buffers else step
        ahead[name] = weight - state.learning_rate * (step + state.momentum * buffer if state.nesterov else buffer)
    found = torch.autograd.grad(search.value(leaves, ahead), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("buffers", [True, False])
@pytest.mark.parametrize("nesterov", [False, True])
def test_unrolled_is_the_exact_gradient_through_one_step(nesterov: bool, buffers: bool) -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    search, training = SmoothLoss(weights, seed=1), SmoothLoss(weights, seed=2)
    state = descent(weights, nesterov, buffers)
    found = Unrolled(distance=1e-4)(search, training, mixture, weights, state)
    expected = exact(search, training, mixture, state)
    assert relative(found.layers, expected) < 1e-6
    first = FirstOrder()(search, training, mixture, weights, state).layers
    assert relative(first, expected) > 0.05, "the second-order part must matter in this case"
    assert not found.loss.requires_grad


@pytest.mark.parametrize("buffers", [True, False])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_unrolled_weights_are_those_of_pytorchs_sgd(nesterov: bool, buffers: bool) -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    search, training = SmoothLoss(weights, seed=1), SmoothLoss(weights, seed=2)
    state = descent(weights, nesterov, buffers)
    found = Unrolled()(search, training, mixture, weights, state)
    (_, ahead, _) = search.calls[0]

    copies = {name: torch.nn.Parameter(weight.detach().clone()) for name, weight in weights.items()}
    optimizer = torch.optim.SGD(copies.values(), 0.3, 0.9, 0, 0.05, nesterov)
    for name, buffer in state.buffers.items():
        optimizer.state[copies[name]]["momentum_buffer"] = buffer.clone()
    training.value(mixture, copies).backward()
    optimizer.step()
    assert ahead is not None
    assert relative(ahead, {name: copy.detach() for name, copy in copies.items()}) < 1e-14
    assert float(found.loss) == pytest.approx(float(search.value(mixture, copies).detach()), rel=1e-12)


def test_the_difference_step_is_the_published_one() -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    search, training = SmoothLoss(weights, seed=1), SmoothLoss(weights, seed=2)
    Unrolled()(search, training, mixture, weights, descent(weights))
    moved = [call[1] for call in training.calls if call[1] is not None]
    assert len(moved) == 2
    assert training.full_precision == [False, True, True], (
        "a small difference counts, so it is not taken in reduced precision"
    )
    offsets = [torch.cat([(given[n] - weights[n]).detach().flatten() for n in weights]) for given in moved]
    torch.testing.assert_close(offsets[0], -offsets[1])
    assert float(offsets[0].norm()) == pytest.approx(0.01, rel=1e-9), "ε·‖∇L_val(w')‖ = 0.01"


@pytest.mark.parametrize("hypergradient", [FirstOrder(), Unrolled()])
def test_nothing_is_tracked_and_nothing_is_left_behind(hypergradient: FirstOrder | Unrolled) -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    state = descent(weights)
    held = {name: buffer.clone() for name, buffer in state.buffers.items()}
    search, training = SmoothLoss(weights, seed=1), SmoothLoss(weights, seed=2)
    hypergradient(search, training, mixture, weights, state)
    assert not any(track for _, _, track in search.calls + training.calls)
    assert all(weight.grad is None and torch.equal(weight, before[name]) for name, weight in weights.items())
    assert all(torch.equal(buffer, held[name]) for name, buffer in state.buffers.items())


def test_first_order_is_the_direct_gradient_of_every_layer() -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    search, training = SmoothLoss(weights, seed=1), SmoothLoss(weights, seed=2)
    found = FirstOrder()(search, training, mixture, weights, descent(weights))
    leaves = leaves_of(mixture)
    search.value(leaves, weights).backward()
    assert relative(found.layers, {name: leaf.grad for name, leaf in leaves.items()}) < 1e-14  # type: ignore[misc]
    assert not training.calls
    assert found.layers["normal"].shape == (3, 2, 3)
    assert not torch.allclose(found.layers["normal"][0], found.layers["normal"][1]), (
        "each layer has a gradient of its own"
    )


def test_where_the_search_loss_ignores_the_weights_unrolled_is_first_order() -> None:
    weights, mixture = smooth_weights(), smooth_mixture()

    class Flat(SmoothLoss):
        def value(self, mixture, weights):  # type: ignore[no-untyped-def]
            return (mixture["normal"] ** 2).sum() + (mixture["reduce"] ** 3).sum()

    found = Unrolled()(Flat(weights), SmoothLoss(weights), mixture, weights, descent(weights)).layers
    torch.testing.assert_close(found["normal"], 2 * mixture["normal"])
    torch.testing.assert_close(found["reduce"], 3 * mixture["reduce"] ** 2)


def test_refusals() -> None:
    with pytest.raises(Refused, match="above 0"):
        Unrolled(distance=0.0)
    method = Method(hypergradient=Unrolled(), curriculum=Blank())
    assert "never trains" in (Unrolled().conflict(method, (), 5) or "")
    assert Unrolled().conflict(replace(method, curriculum=WarmUp(0.8)), (), 5) is None


def test_gradients_are_laid_out_as_their_weights() -> None:
    """Else kernels on lists go one tensor at a time, or fused ones read the wrong numbers."""
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    unused, other = torch.randn(2, requires_grad=True), torch.ones((), dtype=torch.float64, requires_grad=True)
    value = (weight.contiguous() ** 2).sum() * other
    found = gradients(value, [weight, unused], [other])
    assert found[0].stride() == weight.stride()
    torch.testing.assert_close(found[0], 2 * weight.detach())
    assert not found[1].any()
    torch.testing.assert_close(found[2], value.detach())
