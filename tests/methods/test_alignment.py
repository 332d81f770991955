"""Λ-DARTS's weight gradient against exact double backward, in float64; Λ by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from methods_support import GROUPS, ROWS, SmoothLoss, draw, relative, smooth_mixture, smooth_weights
from torch import Tensor

from poise.errors import Refused
from poise.methods import LayerAlignment, Method, NoAlignment
from poise.methods.alignment import correlation, mean_alignment
from poise.methods.slots import Progress
from poise.supernet.groups import ChoiceGroup

LAST = Progress(4, 5)
TWO_ALIGNED = (ChoiceGroup("normal", 3, ROWS), ChoiceGroup("other", 2, ROWS))


def textbook(gradients: list[Tensor], form: str) -> Tensor:
    """Λ, pair by pair."""
    total, pairs = torch.zeros((), dtype=torch.float64), 0
    for i in range(len(gradients)):
        for j in range(i + 1, len(gradients)):
            a, b = gradients[i].flatten(), gradients[j].flatten()
            total = total + (a @ b) / (a.norm() * b.norm() if form == "corr" else a.abs() @ b.abs())
            pairs += 1
    return total / pairs


def exact(loss: SmoothLoss, mixture: dict[str, Tensor], aligned: list[str], form: str) -> dict[str, dict[str, Tensor]]:
    """``∇_w L`` and ``∇_w Λ`` by double backward."""
    leaves = {name: values.detach().clone().requires_grad_() for name, values in mixture.items()}
    weights = dict(loss.own)
    value = loss.value(leaves, weights)
    plain = torch.autograd.grad(value, list(weights.values()), retain_graph=True)
    layers = torch.autograd.grad(value, [leaves[name] for name in aligned], create_graph=True)
    agreement = torch.stack([textbook(list(group), form) for group in layers]).mean()
    pushed = torch.autograd.grad(agreement, list(weights.values()), allow_unused=True, materialize_grads=True)
    return {"plain": dict(zip(weights, plain, strict=True)), "pushed": dict(zip(weights, pushed, strict=True))}


@pytest.mark.parametrize("form", ["corr", "signcorr"])
@pytest.mark.parametrize(("groups", "aligned"), [(GROUPS, ["normal"]), (TWO_ALIGNED, ["normal", "other"])])
def test_the_correction_is_the_exact_gradient(form: str, groups: tuple[ChoiceGroup, ...], aligned: list[str]) -> None:
    weights, mixture = smooth_weights(groups), smooth_mixture(groups)
    loss = SmoothLoss(weights, groups)
    found = LayerAlignment(0.25, form, 1e-4)(loss, mixture, weights, groups, LAST)  # type: ignore[arg-type]
    expected = exact(loss, mixture, aligned, form)
    correction = {name: expected["plain"][name] - found.weights[name] for name in weights}
    assert relative(correction, {name: 0.25 * value for name, value in expected["pushed"].items()}) < 1e-5
    assert set(found.layers) == set(aligned)
    assert found.loss == loss.value(mixture, weights).detach()


@pytest.mark.parametrize("form", ["corr", "signcorr"])
def test_a_step_against_the_corrected_gradient_raises_the_agreement(form: str) -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    loss = SmoothLoss(weights)
    plain = NoAlignment()(loss, mixture, weights, GROUPS, LAST).weights
    aligned = LayerAlignment(1.0, form)(loss, mixture, weights, GROUPS, LAST).weights  # type: ignore[arg-type]

    def agreement(rate: float) -> float:
        moved = {n: (w - rate * (aligned[n] - plain[n])).detach() for n, w in weights.items()}
        leaf = mixture["normal"].detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss.value({**mixture, "normal": leaf}, moved), [leaf])
        return float(textbook(list(gradient), form))

    assert agreement(1e-3) > agreement(0.0) > agreement(-1e-3)


def test_strength_grows_linearly_from_0_to_full() -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    loss = SmoothLoss(weights)
    plain = NoAlignment()(loss, mixture, weights, GROUPS, LAST).weights

    def correction(epoch: int, epochs: int = 5) -> Tensor:
        found = LayerAlignment(0.4)(loss, mixture, weights, GROUPS, Progress(epoch, epochs)).weights
        return torch.cat([(plain[name] - found[name]).flatten() for name in weights])

    full = correction(4)
    assert float(full.norm()) > 0
    for epoch in range(5):
        torch.testing.assert_close(correction(epoch), full * epoch / 4, rtol=1e-9, atol=1e-14)
    assert not correction(0, 1).any(), "a search of one epoch stands at its start"
    torch.testing.assert_close(
        correction(5), full, rtol=1e-9, atol=1e-14, msg="tuning after the search: λ stays at full strength"
    )
    torch.testing.assert_close(correction(2, 2), full, rtol=1e-9, atol=1e-14)


def test_a_ramp_reaches_full_strength_sooner() -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    loss = SmoothLoss(weights)
    plain = NoAlignment()(loss, mixture, weights, GROUPS, LAST).weights

    def correction(epoch: int, ramp: float) -> Tensor:
        found = LayerAlignment(0.4, ramp=ramp)(loss, mixture, weights, GROUPS, Progress(epoch, 9)).weights
        return torch.cat([(plain[name] - found[name]).flatten() for name in weights])

    full = correction(8, 1.0)
    for epoch, share in ((0, 0.0), (1, 0.5), (2, 1.0), (5, 1.0)):
        torch.testing.assert_close(correction(epoch, 0.25), full * share, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(correction(0, 0.0), full, rtol=1e-9, atol=1e-14, msg="no ramp: at once")


def test_passes_of_a_step() -> None:
    """One tracked pass, two auxiliary ones at ±; the first epoch needs only the tracked one; others are left alone."""
    weights, mixture = smooth_weights(), smooth_mixture()
    loss = SmoothLoss(weights)
    LayerAlignment(distance=1e-3)(loss, mixture, weights, GROUPS, LAST)
    assert [track for _, _, track in loss.calls] == [True, False, False]
    assert loss.full_precision == [False, True, True], (
        "a small difference counts, so it is not taken in reduced precision"
    )
    first, plus, minus = (call[0] for call in loss.calls)
    torch.testing.assert_close(first["normal"], mixture["normal"], rtol=0, atol=0)
    torch.testing.assert_close(plus["normal"] - mixture["normal"], mixture["normal"] - minus["normal"])
    assert float((plus["normal"] - mixture["normal"]).norm()) == pytest.approx(1e-3, rel=1e-9), "ε·‖u‖ = ε_0"
    assert all(torch.equal(call[0]["reduce"], mixture["reduce"]) for call in loss.calls)
    loss.calls.clear()
    LayerAlignment()(loss, mixture, weights, GROUPS, Progress(0, 5))
    assert [track for _, _, track in loss.calls] == [True]


def test_lambda_by_hand() -> None:
    # cos(a, b) = 0, cos(a, c) = 3/5, cos(b, c) = 4/5; their mean is 7/15.
    vectors = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]], dtype=torch.float64)
    assert float(correlation(vectors)) == pytest.approx(7 / 15, rel=1e-12)
    # aᵀb/|a|ᵀ|b|: (1·3 − 2·4)/(3 + 8) = −5/11
    pair = torch.tensor([[1.0, -2.0], [3.0, 4.0]], dtype=torch.float64)
    assert float(correlation(pair, "signcorr")) == pytest.approx(-5 / 11, rel=1e-12)
    assert float(correlation(pair)) == pytest.approx(-5 / (math.sqrt(5) * 5), rel=1e-12)
    # Neither form depends on the gradients' scale.
    for form in ("corr", "signcorr"):
        scaled = pair * torch.tensor([[1e-9], [1e6]], dtype=torch.float64)
        assert float(correlation(scaled, form)) == pytest.approx(float(correlation(pair, form)), rel=1e-9)  # type: ignore[arg-type]
    assert float(correlation(draw(1, 2, 3, seed=0).expand(4, 2, 3))) == pytest.approx(1.0)


@pytest.mark.parametrize("form", ["corr", "signcorr"])
def test_layers_far_apart_in_scale_agree_in_float32(form: str) -> None:
    """Squares of gradients as small as float32 can hold would be 0."""
    pair = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    apart = pair * torch.tensor([[1e-30], [1e6]])
    assert float(correlation(apart, form)) == pytest.approx(float(correlation(pair, form)), rel=1e-5)  # type: ignore[arg-type]


def test_signcorr_of_three_layers_by_hand() -> None:
    vectors = torch.tensor([[1.0, -2.0], [3.0, 4.0], [-1.0, 1.0]], dtype=torch.float64)
    assert float(correlation(vectors, "signcorr")) == pytest.approx((-5 / 11 - 3 / 3 + 1 / 7) / 3, rel=1e-12)


@pytest.mark.parametrize("form", ["corr", "signcorr"])
def test_a_layer_without_gradient_agrees_with_none_and_gets_no_push(form: str) -> None:
    vectors = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 4.0]]).requires_grad_()
    value = correlation(vectors, form)  # type: ignore[arg-type]
    others = correlation(vectors[[0, 2]].detach(), form)  # type: ignore[arg-type]
    assert float(value.detach()) == pytest.approx(float(others) / 3, rel=1e-6)
    (push,) = torch.autograd.grad(value, [vectors])
    assert torch.isfinite(push).all()
    assert not push[1].any()


@pytest.mark.parametrize("form", ["corr", "signcorr"])
@pytest.mark.parametrize("dead", [[1], [0, 1, 2]])
def test_dead_layers_leave_finite_weights(form: str, dead: list[int]) -> None:
    """A layer whose mixture has no influence has a zero gradient; the correction then comes from the others alone."""
    weights, mixture = smooth_weights(), smooth_mixture()

    class Dead(SmoothLoss):
        def value(self, mixture, weights):  # type: ignore[no-untyped-def]
            fixed = mixture["normal"].clone()
            fixed[dead] = smooth_mixture()["normal"][0]
            return super().value({**mixture, "normal": fixed}, weights)

    loss = Dead(weights)
    plain = NoAlignment()(loss, mixture, weights, GROUPS, LAST).weights
    found = LayerAlignment(0.25, form, 1e-4)(loss, mixture, weights, GROUPS, LAST).weights  # type: ignore[arg-type]
    assert all(torch.isfinite(value).all() for value in found.values())
    leaf = mixture["normal"].detach().clone().requires_grad_()
    (layers,) = torch.autograd.grad(loss.value({**mixture, "normal": leaf}, weights), [leaf], create_graph=True)
    living = [layers[index] for index in range(3) if index not in dead]
    if not living:
        assert all(torch.equal(found[name], plain[name]) for name in weights)
        return
    pushed = torch.autograd.grad(
        textbook(living, form) / 3, list(weights.values()), allow_unused=True, materialize_grads=True
    )
    correction = {name: plain[name] - found[name] for name in weights}
    assert relative(correction, {n: 0.25 * value for n, value in zip(weights, pushed, strict=True)}) < 1e-5


def test_no_alignment_is_the_plain_gradient() -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    loss = SmoothLoss(weights)
    found = NoAlignment()(loss, mixture, weights, GROUPS, LAST)
    expected = torch.autograd.grad(loss.value(mixture, weights), list(weights.values()))
    assert all(torch.equal(found.weights[name], value) for name, value in zip(weights, expected, strict=True))
    assert [track for _, _, track in loss.calls] == [True]
    (layer_gradient,) = torch.autograd.grad(
        loss.value(
            leaves := {name: values.detach().clone().requires_grad_() for name, values in mixture.items()}, weights
        ),
        [leaves["normal"]],
    )
    assert list(found.layers) == ["normal"], "of aligned groups only"
    torch.testing.assert_close(found.layers["normal"], layer_gradient, rtol=1e-12, atol=1e-12)


def test_where_nothing_can_be_aligned_the_gradient_stays_plain_if_that_is_allowed() -> None:
    weights, mixture = smooth_weights(), smooth_mixture()
    apart = tuple(replace(group, aligned=False) for group in GROUPS)
    lenient = LayerAlignment(0.4, required=False)
    Method(alignment=lenient).check(apart, 5)
    found = lenient(SmoothLoss(weights), mixture, weights, apart, LAST).weights
    plain = NoAlignment()(SmoothLoss(weights), mixture, weights, apart, LAST).weights
    assert all(torch.equal(found[name], plain[name]) for name in weights)
    strict = LayerAlignment(0.4)(SmoothLoss(weights), mixture, weights, GROUPS, LAST).weights
    same = replace(lenient)(SmoothLoss(weights), mixture, weights, GROUPS, LAST).weights
    assert all(torch.equal(same[name], strict[name]) for name in weights), "where it can, it does"
    assert any(not torch.equal(same[name], plain[name]) for name in weights)


def test_the_diagnostic_is_the_mean_cosine_of_aligned_groups() -> None:
    layers = {"normal": draw(3, 2, 3, seed=1), "other": draw(2, 2, 3, seed=2)}
    expected = (textbook(list(layers["normal"]), "corr") + textbook(list(layers["other"]), "corr")) / 2
    found = mean_alignment(layers, TWO_ALIGNED)
    assert found is not None
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    unaligned = {"normal": layers["normal"], "reduce": layers["other"]}
    only = mean_alignment(unaligned, GROUPS)
    assert only is not None
    assert float(only) == pytest.approx(float(textbook(list(layers["normal"]), "corr")), rel=1e-12)
    assert mean_alignment({}, GROUPS) is None
    assert mean_alignment({"normal": layers["normal"][:1]}, (ChoiceGroup("normal", 1, ROWS),)) is None


def test_refusals() -> None:
    for bad in (
        {"form": "cosine"},
        {"strength": -1.0},
        {"distance": 0.0},
        {"strength": math.nan},
        {"ramp": 1.1},
        {"ramp": -0.1},
    ):
        with pytest.raises(Refused):
            LayerAlignment(**bad)  # type: ignore[arg-type]
    alone = (ChoiceGroup("normal", 1, ROWS), ChoiceGroup("reduce", 2, ROWS, aligned=False))
    with pytest.raises(Refused, match=r"alignment=layer: .*at least 2 layers"):
        Method(alignment=LayerAlignment()).check(alone, 5)
    Method(alignment=LayerAlignment()).check(GROUPS, 5)
