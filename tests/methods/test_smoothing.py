"""SDARTS's perturbations: the ball, the set of mixtures, the schedule, and what must not be touched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from methods_support import GROUPS, MixtureLoss, draw, smooth_mixture
from torch import Tensor

from poise.errors import Refused
from poise.methods import (
    AdversarialSmoothing,
    ExactAdversarialSmoothing,
    NoPerturbation,
    RandomSmoothing,
    Sigmoid,
    Softmax,
)
from poise.methods.slots import Progress
from poise.supernet.draws import Draws
from poise.supernet.groups import expand

HALF = Progress(25, 50)
ATTACKS = (AdversarialSmoothing(), ExactAdversarialSmoothing())


def chance(seed: int = 0) -> Draws:
    return Draws(seed, torch.device("cpu"), exact=True)


def unused(mixture: Mapping[str, Tensor]) -> Tensor:
    raise AssertionError("random smoothing needs no loss")


def corner_loss(slopes: dict[str, Tensor]) -> MixtureLoss:
    return MixtureLoss(lambda mixture: torch.stack([(slopes[n] * v).sum() for n, v in mixture.items()]).sum())


def both_relaxed(relaxation: Any) -> dict[str, Tensor]:
    alphas = {group.name: draw(*group.shape, seed=60 + i, scale=0.5) for i, group in enumerate(GROUPS)}
    return expand({name: relaxation(value) for name, value in alphas.items()}, GROUPS)


@pytest.mark.parametrize("kind", [RandomSmoothing, AdversarialSmoothing, ExactAdversarialSmoothing])
def test_radius_grows_linearly(kind: Any) -> None:
    assert [kind().radius(Progress(epoch, 10)) for epoch in (0, 5, 10)] == pytest.approx([0.03, 0.165, 0.3])
    assert kind(0.1, 0.2).radius(Progress(3, 4)) == pytest.approx(0.175)
    ramped = kind(0.1, 0.2, ramp=0.5)
    assert [ramped.radius(Progress(epoch, 4)) for epoch in (0, 1, 2, 4)] == pytest.approx([0.1, 0.15, 0.2, 0.2])
    for ramp in (0.0, 1.5):
        with pytest.raises(Refused, match="ramp"):
            kind(ramp=ramp)
    for bad in ((0.3, 0.03), (-0.1, 0.3), (0.1, 1.5)):
        with pytest.raises(Refused):
            kind(*bad)
    for attack in (AdversarialSmoothing, ExactAdversarialSmoothing):
        with pytest.raises(Refused, match="at least 1 step"):
            attack(steps=0)


def test_no_perturbation() -> None:
    mixture = smooth_mixture()
    assert NoPerturbation()(mixture, MixtureLoss(unused), Softmax(), HALF, chance()) is mixture


@pytest.mark.parametrize("epoch", [0, 25, 50])
def test_random_spread_is_that_of_the_uniform(epoch: int) -> None:
    """With the sigmoid at ½ neither clamping nor a sum interferes: δ is exactly U(−ε, ε), of deviation ε/√3."""
    radius = 0.03 + 0.27 * epoch / 50
    mixture = {"normal": torch.full((2, 100, 80), 0.5, dtype=torch.float64)}
    found = RandomSmoothing()(mixture, MixtureLoss(unused), Sigmoid(), Progress(epoch, 50), chance(3))
    delta = found["normal"][0] - 0.5
    assert float(delta.abs().max()) <= radius
    assert float(delta.max()) > 0.995 * radius
    assert float(delta.min()) < -0.995 * radius
    assert float(delta.std()) == pytest.approx(radius / math.sqrt(3), rel=0.02)
    assert abs(float(delta.mean())) < 0.03 * radius
    assert float((delta > radius / 2).double().mean()) == pytest.approx(0.25, abs=0.02), "uniform, not merely bounded"


def test_random_on_rows_that_sum_to_1() -> None:
    mixture = smooth_mixture()
    found = RandomSmoothing()(mixture, MixtureLoss(unused), Softmax(), HALF, chance(1))
    for name, values in found.items():
        assert values.shape == mixture[name].shape
        assert float((values.sum(-1) - 1).abs().max()) < 1e-12
        assert float(values.min()) >= 0
        assert not torch.allclose(values, mixture[name], atol=1e-3)
        assert all(torch.equal(layer, values[0]) for layer in values), "the layers share one δ"
    assert not torch.allclose(found["normal"][0], found["reduce"][0]), "groups do not"


def test_random_where_a_row_clamps_to_zero() -> None:
    """With every entry of the row driven below 0 the row becomes one-hot at its largest value."""

    class Sinking:
        def renormalise(self, values: Tensor) -> Tensor:
            return Softmax().renormalise(values - 1.0)

    mixture = {"g": torch.full((1, 50, 4), 0.25, dtype=torch.float64)}
    found = RandomSmoothing()(mixture, MixtureLoss(unused), Sinking(), HALF, chance(5))["g"][0]  # type: ignore[arg-type]
    plain = RandomSmoothing()(mixture, MixtureLoss(unused), Sigmoid(), HALF, chance(5))["g"][0]
    assert torch.equal(found, torch.nn.functional.one_hot(plain.argmax(-1), 4).double())


def test_random_is_a_function_of_its_chance() -> None:
    mixture = smooth_mixture()
    state = torch.random.get_rng_state()
    runs = [RandomSmoothing()(mixture, MixtureLoss(unused), Softmax(), HALF, chance(seed)) for seed in (4, 4, 5)]
    assert torch.equal(runs[0]["normal"], runs[1]["normal"])
    assert not torch.equal(runs[0]["normal"], runs[2]["normal"])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid()])
@pytest.mark.parametrize("epoch", [0, 25, 50])
def test_the_attack_finds_the_corner_of_a_linear_loss(relaxation: Any, epoch: int) -> None:
    mixture = both_relaxed(relaxation)
    slopes = {
        name: draw(*values.shape[1:], seed=70 + i).expand_as(values) for i, (name, values) in enumerate(mixture.items())
    }
    radius = 0.03 + 0.27 * epoch / 50
    found = ExactAdversarialSmoothing()(mixture, corner_loss(slopes), relaxation, Progress(epoch, 50), chance(2))
    for name, values in found.items():
        clean, slope = mixture[name][0], slopes[name][0]
        lower, upper = (clean - radius).clamp(min=0), (clean + radius).clamp(max=1)
        if isinstance(relaxation, Sigmoid):
            assert torch.allclose(values[0], torch.where(slope > 0, upper, lower), atol=1e-6)
            continue
        assert float((values.sum(-1) - 1).abs().max()) < 1e-6
        assert (values[0] >= lower - 1e-6).all()
        assert (values[0] <= upper + 1e-6).all()


def best_of(slope: Tensor, lower: Tensor, upper: Tensor) -> float:
    """The largest ``slope · p`` over ``Σ p = 1, lower ≤ p ≤ upper``: fill the steepest entries first."""
    point, left = lower.clone(), 1 - float(lower.sum())
    for entry in slope.argsort(descending=True).tolist():
        take = min(left, float(upper[entry] - lower[entry]))
        point[entry], left = point[entry] + take, left - take
    return float(slope @ point)


@pytest.mark.parametrize("slopes", ["mixed", "all uphill", "all downhill"])
@pytest.mark.parametrize("candidates", [2, 3, 5, 8])
def test_the_attack_finds_the_corner_of_the_simplex(candidates: int, slopes: str) -> None:
    """Rows that sum to 1: only differences of slopes count, so signs that all agree must not stall the attack."""
    radius = 0.03
    clean = torch.softmax(0.3 * draw(6, candidates, seed=candidates), -1)
    slope = draw(6, candidates, seed=90 + candidates)
    slope = slope if slopes == "mixed" else slope + (10 if slopes == "all uphill" else -10)
    mixture = {"g": clean.expand(2, 6, candidates)}
    found = ExactAdversarialSmoothing()(
        mixture, MixtureLoss(lambda m: (slope * m["g"]).sum()), Softmax(), Progress(0, 50), chance(1)
    )["g"]
    lower, upper = (clean - radius).clamp(min=0), (clean + radius).clamp(max=1)
    for row in range(6):
        best, start = best_of(slope[row], lower[row], upper[row]), float(slope[row] @ clean[row])
        gain = (float(slope[row] @ found[0, row]) - start) / (best - start)
        assert gain > (1 - 1e-6 if candidates == 2 else 0.75), "with more candidates the last step may not reach it"
        assert gain < 1 + 1e-6


@pytest.mark.parametrize("steps", [20, 40])
def test_an_attack_that_has_reached_the_corner_stays_there(steps: int) -> None:
    """All that is left to follow there is rounding, whose sign would lead away again."""
    for seed in range(6):
        clean, slope = torch.softmax(0.3 * draw(12, 2, seed=seed), -1), draw(12, 2, seed=100 + seed)
        loss = MixtureLoss(lambda m, slope=slope: (slope * m["g"]).sum())  # type: ignore[misc]
        attack = ExactAdversarialSmoothing(0.03, 0.03, steps=steps)
        found = attack({"g": clean[None]}, loss, Softmax(), Progress(0, 50), chance(seed))["g"][0]
        corner = clean + 0.03 * torch.sign(slope - slope.mean(-1, keepdim=True))
        torch.testing.assert_close(found, corner, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", [4, 5, 6])
@pytest.mark.parametrize("scale", [2.0**-30, 2.0**30])
def test_each_row_is_attacked_in_its_own_scale(scale: float, seed: int) -> None:
    """How steep the loss is along one row has nothing to do with where another row goes."""
    mixture = {"g": torch.softmax(0.3 * draw(1, 3, 5, seed=1), -1)}
    slope = draw(3, 5, seed=seed)
    steeper = slope * torch.tensor([[1.0], [scale], [1.0]], dtype=torch.float64)

    def found(slopes: Tensor) -> Tensor:
        loss = MixtureLoss(lambda m: (slopes * m["g"]).sum())
        return ExactAdversarialSmoothing()(mixture, loss, Softmax(), HALF, chance(seed))["g"]

    torch.testing.assert_close(found(steeper), found(slope), rtol=0, atol=1e-12)


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid()])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_result_is_never_below_clean(relaxation: Any, seed: int, attack: Any) -> None:
    """A loss with its maximum at the clean mixture falls whatever one does: the clean one comes back."""
    mixture = both_relaxed(relaxation)
    fixed = {name: values.detach().clone() for name, values in mixture.items()}
    peak = MixtureLoss(lambda m: -torch.stack([(v - fixed[n]).square().sum() for n, v in m.items()]).sum())
    found = attack(mixture, peak, relaxation, HALF, chance(seed))
    assert all(torch.equal(found[name], fixed[name]) for name in fixed)


def test_the_attack_goes_uphill_and_takes_the_published_steps() -> None:
    mixture = {"g": torch.full((3, 2, 4), 0.5, dtype=torch.float64)}
    loss = MixtureLoss(lambda m: m["g"].sum())
    ExactAdversarialSmoothing()(mixture, loss, Sigmoid(), Progress(0, 50), chance(2))
    visited = [seen["g"] for seen in loss.seen[:8]]
    assert len(loss.seen) == 9, "7 gradients, then the end and the clean mixture compared"
    assert torch.equal(loss.seen[-1]["g"], mixture["g"])
    start = (visited[0][0] - 0.5).abs()
    assert 0 < float(start.min()) < float(start.max()) <= 0.03, "a random start inside the ball"
    for before, after in itertools.pairwise(visited):
        torch.testing.assert_close(after, (before + 2 * 0.03 / 7).clamp(max=0.53))
    assert all(torch.equal(layer, seen[0]) for seen in visited for layer in seen), "the layers share one δ"


def test_the_shared_delta_feels_all_layers() -> None:
    """Layers that pull in opposite directions with unequal force: the stronger wins for both."""
    mixture = {"g": torch.full((2, 1, 2), 0.5, dtype=torch.float64)}
    force = torch.tensor([[[1.0, 0.0]], [[-3.0, 0.0]]], dtype=torch.float64)
    found = ExactAdversarialSmoothing()(
        mixture, MixtureLoss(lambda m: (force * m["g"]).sum()), Sigmoid(), HALF, chance(1)
    )
    torch.testing.assert_close(found["g"][:, 0, 0], torch.full((2,), 0.5 - 0.165, dtype=torch.float64))
    assert torch.equal(found["g"][0], found["g"][1])
    assert not found["g"].requires_grad


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attack_is_a_function_of_its_draws_and_leaves_the_rest_alone(attack: Any) -> None:
    mixture = smooth_mixture()
    before = {name: values.clone() for name, values in mixture.items()}
    loss = MixtureLoss(lambda m: torch.stack([torch.sin(20 * v).sum() for v in m.values()]).sum())
    state = torch.random.get_rng_state()
    runs = [attack(mixture, loss, Softmax(), HALF, chance(seed)) for seed in (4, 4, 5)]
    assert torch.equal(runs[0]["normal"], runs[1]["normal"])
    assert not torch.equal(runs[0]["normal"], runs[2]["normal"])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(mixture[name], before[name]) for name in before)
    for found in runs:
        assert float(loss.evaluation(found)) > float(loss.evaluation(mixture))
