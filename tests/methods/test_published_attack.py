"""SDARTS-ADV as published, to the last digit: against a restatement of it with loops over rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from methods_support import GROUPS, MixtureLoss, SmoothLoss, draw, smooth_weights
from torch import Tensor

from poise.methods import METHODS, AdversarialSmoothing, ExactAdversarialSmoothing, Sigmoid, Softmax
from poise.methods.slots import Progress
from poise.supernet.draws import Draws
from poise.supernet.groups import ChoiceGroup, Mixture, Row, expand
from textbook.sdarts import attacked


def chance(seed: int) -> Draws:
    return Draws(seed, torch.device("cpu"), exact=True)


def noise_of(groups: Sequence[ChoiceGroup], epsilon: float, seed: int) -> list[Tensor]:
    """The random start of a seed."""
    draws = chance(seed)
    return [epsilon * (2 * draws.uniform((1, *group.shape), torch.float64) - 1)[0] for group in groups]


def in_layers(loss: Callable[[Mixture], Tensor], groups: Sequence[ChoiceGroup]) -> Callable[[Sequence[Tensor]], Tensor]:
    """A loss of mixtures as one of the weights that the layers share."""
    return lambda rows: loss({g.name: torch.stack([row] * g.layers) for g, row in zip(groups, rows, strict=True)})


def wide(count: int) -> tuple[ChoiceGroup, ...]:
    names = tuple("abcdefgh"[:count])
    return (
        ChoiceGroup("normal", 3, tuple(Row(str(row), names) for row in range(4))),
        ChoiceGroup("reduce", 2, tuple(Row(str(row), names) for row in range(3)), aligned=False),
    )


def rugged(mixture: Mixture) -> Tensor:
    """Hills and valleys, other ones in every layer, some of them steep."""
    parts = []
    for values in mixture.values():
        slopes = draw(*values.shape, seed=31, scale=3.0)
        parts.append((torch.sin(7 * values + slopes) + slopes * values).sum())
    return torch.stack(parts).sum()


def downhill(mixture: Mixture) -> Tensor:
    """The less of everything, the larger: all signs of a row agree, and a row may clamp to nothing."""
    return torch.stack([-(values**2 * draw(*values.shape, seed=5).abs()).sum() for values in mixture.values()]).sum()


LOSSES = {"rugged": rugged, "downhill": downhill}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("epoch", [0, 13, 50])
@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("candidates", [2, 5, 8])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid()], ids=["softmax", "sigmoid"])
def test_the_attack_is_the_published_one_bit_for_bit(
    relaxation: Any, kind: str, candidates: int, steps: int, epoch: int, seed: int
) -> None:
    groups = wide(candidates)
    alphas = {group.name: draw(*group.shape, seed=60 + i, scale=0.5) for i, group in enumerate(groups)}
    clean = {name: relaxation(value) for name, value in alphas.items()}
    attack = AdversarialSmoothing(steps=steps)
    found = attack(expand(clean, groups), MixtureLoss(LOSSES[kind]), relaxation, Progress(epoch, 50), chance(seed))
    epsilon = 0.03 + (0.3 - 0.03) * min(epoch / 50, 1.0)
    expected = attacked(
        in_layers(LOSSES[kind], groups), list(clean.values()), noise_of(groups, epsilon, seed), epsilon, steps,
        isinstance(relaxation, Softmax),
    )  # fmt: skip
    for group, rows in zip(groups, expected, strict=True):
        assert torch.equal(found[group.name], rows.expand(group.layers, *group.shape))


def test_on_a_network() -> None:
    weights = smooth_weights()
    loss = SmoothLoss(weights)
    clean = {group.name: draw(*group.shape, seed=50 + i).softmax(-1) for i, group in enumerate(GROUPS)}
    attack = METHODS["sdarts-adv"].build().perturbation
    found = attack(expand(clean, GROUPS), loss, Softmax(), Progress(50, 50), chance(3))
    epsilon = 0.03 + (0.3 - 0.03)  # in float64 not quite 0.3
    expected = attacked(in_layers(loss.evaluation, GROUPS), list(clean.values()), noise_of(GROUPS, epsilon, 3), epsilon)
    for group, rows in zip(GROUPS, expected, strict=True):
        assert torch.equal(found[group.name], rows.expand(group.layers, *group.shape))
    assert float(loss.evaluation(found).detach()) > float(loss.evaluation(expand(clean, GROUPS)).detach())


def test_a_row_that_clamps_to_nothing_goes_where_it_was_largest() -> None:
    """One step of 2ε downwards takes every entry of a row of small weights below 0."""
    mixture = {"g": torch.softmax(torch.arange(8.0, dtype=torch.float64) / 10, -1).expand(2, 3, 8)}
    seen = MixtureLoss(lambda m: -m["g"].sum() + 100 * (m["g"] ** 2).sum().detach())  # so that the attack is kept
    found = AdversarialSmoothing(steps=1)(mixture, seen, Softmax(), Progress(50, 50), chance(0))["g"]
    start, end = seen.seen[0]["g"][0], seen.seen[1]["g"][0]
    for row, at in zip(end, start, strict=True):
        pushed = (at - 0.6 - mixture["g"][0, 0]).clamp(-0.3, 0.3) + mixture["g"][0, 0]
        assert float(pushed.max()) <= 0, "the case is the one that is meant"
        assert row.tolist() == [float(index == int(pushed.argmax())) for index in range(8)]
    assert torch.equal(found[0], end)


def test_it_leaves_the_ball_and_the_exact_one_does_not() -> None:
    """What dividing by the sum does, and why the stronger attack projects."""
    mixture = {"g": torch.softmax(0.1 * draw(1, 6, 8, seed=4), -1)}
    slope = 2 * torch.eye(8, dtype=torch.float64)[:6] - 1  # one candidate of every row hurts, the others help
    loss = MixtureLoss(lambda m: (slope * m["g"]).sum())
    largest = {}
    for attack in (AdversarialSmoothing(), ExactAdversarialSmoothing()):
        found = attack(mixture, loss, Softmax(), Progress(50, 50), chance(1))["g"]
        assert float((found.sum(-1) - 1).abs().max()) < 1e-9
        largest[attack.kind] = float((found - mixture["g"]).abs().max())
    assert largest["adversarial"] > 0.8
    assert largest["adversarial-exact"] <= 0.3 + 1e-9


@pytest.mark.parametrize("attack", [AdversarialSmoothing(), ExactAdversarialSmoothing()], ids=lambda a: a.kind)
def test_what_is_no_worse_is_not_taken(attack: Any) -> None:
    mixture = {"g": torch.softmax(draw(1, 4, 5, seed=2), -1)}
    flat = MixtureLoss(lambda m: 0 * m["g"].sum())
    assert torch.equal(attack(mixture, flat, Softmax(), Progress(50, 50), chance(0))["g"], mixture["g"])


@pytest.mark.parametrize("seed", range(3))
def test_where_rows_have_no_sum_both_attacks_agree(seed: int) -> None:
    mixture = {"g": torch.sigmoid(draw(1, 4, 5, seed=seed))}
    ends = [
        attack(mixture, MixtureLoss(rugged), Sigmoid(), Progress(10, 50), chance(seed))["g"]
        for attack in (AdversarialSmoothing(), ExactAdversarialSmoothing())
    ]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-12)
    assert not torch.equal(ends[0], mixture["g"])
