"""The race: the exact rule never changes the winner, the one at a confidence seldom; both stop where they should."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poise.selection.race import LEAST_IMAGES, LEAST_LOOKS, Race, Side, Standing, plausible, quantile, reachable
from poise.selection.rule import Score
from selection.selection_fakes import replay

SIDES: list[Side] = ["lowest", "highest"]


def winner(scores: list[Score | None], side: Side) -> int:
    """The lowest accuracy, of equals the larger loss; or the highest, of equals the smaller loss. Then the first."""
    racing = {index: score for index, score in enumerate(scores) if score is not None}
    if side == "lowest":
        return min(racing, key=lambda index: (racing[index].quality, -racing[index].loss))
    return max(racing, key=lambda index: (racing[index].quality, -racing[index].loss))


@st.composite
def tables(draw: Any) -> tuple[Tensor, Tensor, int]:
    """Hits and losses ``[k, n]`` and a batch size; candidates often tie, in accuracy and at times in the loss too."""
    count, images = draw(st.integers(2, 5)), draw(st.integers(2, 24))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    order = [torch.randperm(images, generator=generator) for _ in range(count)]
    right = draw(st.lists(st.integers(0, images), min_size=count, max_size=count))
    if draw(st.booleans()):
        right = [right[0] + int(torch.randint(-1, 2, (1,), generator=generator)) for _ in right]
    hits = torch.stack([torch.arange(images) < value for value in right])
    if draw(st.booleans()):  # at times those right come first in some, last in others
        order = [torch.arange(images).flip(0) if index % 2 else torch.arange(images) for index in range(count)]
    hits = torch.stack([row[index] for row, index in zip(hits, order, strict=True)])
    losses = torch.randint(0, 3, (count, 1), generator=generator).double().expand(count, images)
    return hits, losses, draw(st.integers(1, 8))


@pytest.mark.parametrize("side", SIDES)
@settings(max_examples=300, deadline=None)
@given(tables())
def test_the_exact_race_has_the_winner_of_the_full_evaluation(side: Side, table: tuple[Tensor, Tensor, int]) -> None:
    hits, losses, size = table
    full, _ = replay(hits, losses, size)
    early, evaluated = replay(hits, losses, size, Race(side, len(hits)))
    assert winner(early, side) == winner(full, side)
    assert max(evaluated) <= hits.shape[1]


@pytest.mark.parametrize("side", SIDES)
def test_a_tie_that_can_still_come_about_is_not_ruled_out(side: Side) -> None:
    """Behind by 2 with 2 images to go: a tie, and then the loss decides. By 3: out."""
    hits = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 3 + [False] * 3])
    first = 0 if side == "highest" else 2
    hits = hits if side == "highest" else ~hits.flip(0)
    expected = [index != 2 - first for index in range(3)]
    assert reachable(hits, 8, side).tolist() == expected
    assert reachable(hits, 9, side).tolist() == [True] * 3
    assert reachable(hits, 7, side).tolist() == [index == first for index in range(3)]
    ending = torch.tensor([[False] * 2, [True] * 2, [True] * 2])
    whole = torch.cat((hits, ending if side == "highest" else ~ending.flip(0)), dim=1)
    losses = torch.tensor([[5.0], [1.0], [1.0]] if side == "highest" else [[1.0], [5.0], [1.0]]).expand(3, 8)
    scores, _ = replay(whole, losses, 1, Race(side, 3))
    assert winner(scores, side) == 1


def clear_cut(images: int, side: Side, seed: int = 0) -> Tensor:
    """Seven candidates of which the fourth is best by far."""
    chance = torch.tensor([0.8, 0.75, 0.8, 0.1, 0.85, 0.9, 0.7]).unsqueeze(1)
    hits = torch.rand(7, images, generator=torch.Generator().manual_seed(seed)) < chance
    return hits if side == "lowest" else ~hits


@pytest.mark.parametrize("side", SIDES)
def test_the_exact_race_stops_as_soon_as_it_is_decided(side: Side) -> None:
    hits = clear_cut(1000, side)
    scores, evaluated = replay(hits, torch.zeros(7, 1000), 10, Race(side, 7))
    assert winner(scores, side) == 3
    assert [score is None for score in scores] == [index != 3 for index in range(7)]
    for index in (0, 1, 2, 4, 5, 6):
        gap = {n: abs(int(hits[index, :n].sum()) - int(hits[3, :n].sum())) for n in range(10, 1001, 10)}
        assert evaluated[index] == min(n for n in gap if gap[n] > 1000 - n)
    assert evaluated[3] == max(evaluated) < 650


@pytest.mark.parametrize("side", SIDES)
def test_a_confidence_saves_most_of_a_clear_cut_evaluation(side: Side) -> None:
    hits = clear_cut(5000, side)
    scores, evaluated = replay(hits, torch.zeros(7, 5000), 50, Race(side, 7, 0.999))
    assert winner(scores, side) == 3
    assert sum(evaluated) <= 0.03 * hits.numel()
    assert min(evaluated) == LEAST_IMAGES == 100


def test_nobody_goes_before_two_looks_and_a_hundred_images() -> None:
    hits = clear_cut(5000, "lowest")
    race = Race("lowest", 7, 0.9)
    assert bool(race(Standing(hits[:, :500], 5000, LEAST_LOOKS - 1, 10)).all())
    assert bool(race(Standing(hits[:, : LEAST_IMAGES - 1], 5000, 10, 500)).all())
    assert race(Standing(hits[:, :LEAST_IMAGES], 5000, LEAST_LOOKS, 500)).tolist() == [index == 3 for index in range(7)]


def pair(plus: int, minus: int, same: int) -> Tensor:
    """Two candidates: the second is right alone on ``plus`` images, wrong alone on ``minus``."""
    first = torch.tensor([False] * plus + [True] * minus + [True] * same)
    second = torch.tensor([True] * plus + [False] * minus + [True] * same)
    return torch.stack((first, second))


@pytest.mark.parametrize("side", SIDES)
def test_the_threshold_is_the_one_in_the_text(side: Side) -> None:
    """D = 200 of n = 1000, N = 2000: √V = √(200·0.5) = 10, so with z = 3 a gap of 30 stays and one of 32 goes."""
    worse = [True, False] if side == "lowest" else [False, True]  # who stays: the second has more right
    assert plausible(pair(115, 85, 800), 2000, 3.0, side).tolist() == [True, True]
    assert plausible(pair(116, 84, 800), 2000, 3.0, side).tolist() == worse
    assert plausible(pair(121, 79, 800), 10**9, 3.0, side).tolist() == [True, True], "far from the end: √V = 14.1"
    assert plausible(pair(122, 78, 800), 10**9, 3.0, side).tolist() == worse


def test_few_differences_are_no_certainty() -> None:
    """All of them in one direction, right before the end: z² = 9 images are not enough, 10 are."""
    assert plausible(pair(9, 0, 990), 1000, 3.0, "lowest").tolist() == [True, True]
    assert plausible(pair(10, 0, 989), 1000, 3.0, "lowest").tolist() == [True, False]
    assert plausible(pair(0, 0, 999), 1000, 3.0, "lowest").tolist() == [True, True]


def test_the_exact_rule_holds_at_a_confidence_too() -> None:
    """4 behind with 3 images to go: too few for a test, and out."""
    standing = Standing(pair(4, 0, 193), 200, 20, 21)
    assert plausible(standing.hits, 200, quantile(0.999, 1, 21), "lowest").tolist() == [True, True]
    assert Race("lowest", 2, 0.999)(standing).tolist() == [True, False]


def test_the_quantile_counts_rivals_and_looks() -> None:
    assert quantile(0.95, 1, 1) == pytest.approx(1.6449, abs=1e-4)  # textbook values of the one-sided test
    assert quantile(0.95, 5, 1) == pytest.approx(2.3263, abs=1e-4)
    assert quantile(0.9, 2, 50) == pytest.approx(3.0902, abs=1e-4)
    race = Race("lowest", 3, 0.9)
    z = quantile(0.9, 2, 50)
    edge = math.floor(z * math.sqrt(600) / 2)  # half the gap that is just not significant for D = 600
    for half, stays in ((edge, True), (edge + 1, False)):
        hits = pair(300 + half, 300 - half, 400)
        standing = Standing(torch.cat((hits, hits[:1])), 10**9, 20, 50)
        assert race(standing).tolist() == [True, stays, True]


def test_equal_candidates_lose_their_winner_as_seldom_as_promised() -> None:
    """A finite half in random order, candidates equal in chance, so that the winner leads by luck alone.

    1000 decisions at confidence 0.9. At most 100 may go wrong; without the corrections for looks and rivals it is more.
    """
    generator = torch.Generator().manual_seed(0)
    wrong = naive = early = 0
    for _ in range(1000):
        easy = torch.rand(600, generator=generator)
        hits = (easy < 0.6) ^ (torch.rand(4, 600, generator=generator) < 0.15)
        losses = torch.zeros(4, 600)
        full, _ = replay(hits, losses, 20)
        lowest = min(score.quality for score in full if score is not None)
        for race in (Race("lowest", 4, 0.9), lambda standing: plausible(standing.hits, 600, 1.2816, "lowest")):
            scores, evaluated = replay(hits, losses, 20, race)
            lost = full[winner(scores, "lowest")].quality != lowest  # type: ignore[union-attr]
            if isinstance(race, Race):
                wrong += lost
                early += sum(evaluated) < 4 * 600
            else:
                naive += lost
    assert wrong <= 100
    assert early > 500, "it does stop"
    assert naive > 300
