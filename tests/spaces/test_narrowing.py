"""Spaces of the later stages of a search: deeper, and of fewer candidates on every row."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from poise.engine.statistics import skip_share
from poise.errors import Refused
from poise.spaces import S1, S2, SPACES, Darts, ImageShape, NasBench201
from poise.spaces.space import genotype_of, holds
from poise.supernet.groups import Kept, decided
from textbook.supernets import state_of, textbook
from textbook.weights import randomise

TASK = ImageShape(3, (6, 6), 4)


def some(space: Any, count: int, seed: int = 0) -> dict[str, dict[str, tuple[str, ...]]]:
    """Some candidates of every row, others on each, in the rows' own order."""
    draw = random.Random(seed)
    return {
        group.name: {
            row.name: tuple(row.candidates[i] for i in sorted(draw.sample(range(len(row.candidates)), count)))
            for row in group.rows
        }
        for group in decided(space.groups)
    }


@pytest.mark.parametrize("space", [Darts(4, 4), NasBench201(4, 1), Darts(4, 3, 2), Darts(4, 3).without(("none",))])
def test_rows_and_depth(space: Any) -> None:
    narrowing = some(space, 3)
    later = space.narrowed(narrowing, 2)
    assert later == space.narrowed(narrowing, 2)
    assert hash(later) == hash(space.narrowed(narrowing, 2))
    assert (later.cells, later.channels, later.partial) == (space.cells + 2, space.channels, space.partial)
    layers = {"normal": space.cells + 2 - 2, "reduce": 2, "cell": 3 * (space.cells + 2)}
    assert [group.name for group in later.groups] == [group.name for group in space.groups]
    for before, after in zip(decided(space.groups), decided(later.groups), strict=True):
        assert after.layers == layers[after.name]
        assert {row.name: row.candidates for row in after.rows} == narrowing[after.name]
        for old, new in zip(before.rows, after.rows, strict=True):
            assert set(new.candidates).isdisjoint(new.dropped)
            assert set(old.candidates) <= {*new.candidates, *new.dropped}
    assert space.narrowed({}, 0) == space
    assert space.narrowed({}, 1).groups[0].rows == space.groups[0].rows
    assert later.narrowed({}, 0) == later
    fewer = some(later, 2)
    assert {row.name: row.candidates for row in later.narrowed(fewer, 0).groups[0].rows} == fewer[later.groups[0].name]
    assert space.without(("skip_connect",)).narrowed(some(space.without(("skip_connect",)), 2), 0).groups


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("space", [Darts(2, 3), NasBench201(2, 1), Darts(4, 3, 2)])
def test_the_supernet_is_the_textbooks(space: Any, training: bool) -> None:
    later = space.narrowed(some(space, 3), 1)
    torch.manual_seed(1)
    supernet = randomise(later.supernet(TASK)).train(training)
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    mixture = {g.name: torch.randn(g.layers, *g.shape, dtype=torch.float64) for g in later.groups}
    expected = textbook(later, state_of(supernet), images, mixture, training)
    torch.testing.assert_close(supernet(images, mixture), expected, rtol=1e-9, atol=1e-9)


def test_darts_narrowed_to_the_candidates_of_s2_is_s2() -> None:
    kept = {
        group.name: {row.name: ("skip_connect", "sep_conv_3x3") for row in group.rows} for group in Darts(4, 3).groups
    }
    later = Darts(4, 3).narrowed(kept, 2)
    nets = []
    for space in (later, S2(4, 5)):
        torch.manual_seed(0)
        nets.append(space.supernet(TASK))
    images = torch.randn(2, 3, 6, 6)
    mixture = {group.name: torch.rand(group.layers, *group.shape) for group in later.groups}
    assert torch.equal(nets[0](images, mixture), nets[1](images, mixture))


def test_genotypes_are_the_whole_spaces() -> None:
    later = Darts(4, 3).narrowed(some(Darts(4, 3), 3), 2)
    kept: Kept = {group.name: tuple((1,) for _ in group.rows) for group in later.groups}
    genotype = genotype_of("darts", kept, later.groups)
    Darts().check(genotype)
    later.check(genotype)
    assert later.network(genotype, TASK, channels=4, cells=3)(torch.randn(2, 3, 6, 6)).shape == (2, 4)
    assert holds(later.groups, genotype)
    assert not holds(Darts(4, 3).narrowed(some(Darts(4, 3), 3, seed=1), 2).groups, genotype)


def test_what_is_not_the_spaces_is_refused() -> None:
    space = NasBench201(4, 1)
    narrowing = some(space, 3)
    rows = narrowing["cell"]
    wrong: list[tuple[Any, str]] = [
        ({"cells": rows}, "other groups or rows"),
        ({"cell": {**rows, "9->9": ("none", "skip_connect")}}, "other groups or rows"),
        ({"cell": {**rows, "0->1": ("none", "nor_conv_5x5")}}, "did you mean 'nor_conv_"),
        ({"cell": {**rows, "0->1": ("none",)}}, "0->1 keeps 1 candidates; 2 are needed"),
    ]
    for found, message in wrong:
        with pytest.raises(Refused, match=message):
            space.narrowed(found, 1)
    with pytest.raises(Refused, match="same number of candidates"):
        space.narrowed({"cell": {**rows, "0->1": ("none", "skip_connect")}}, 1)
    with pytest.raises(Refused, match="for 1 rows, expected 28"):
        Darts(kept=(("none", "skip_connect"),))
    with pytest.raises(Refused, match="for 1 rows, expected 6"):
        NasBench201(kept=(("none", "skip_connect"),))
    with pytest.raises(Refused, match="cells must be at most"):
        space.narrowed({}, 10**6)


def test_every_space_of_cells_can_be_narrowed() -> None:
    assert {"darts", "s1", "s2", "s3", "s4", "nasbench201"} <= {
        name for name in SPACES if hasattr(SPACES[name], "narrowed")
    }
    assert S1(4, 3).narrowed(some(S1(4, 3), 2), 1).groups[0].rows == S1(4, 4).groups[0].rows


def test_rows_that_lost_their_skip_connection_still_count() -> None:
    """One of two rows is led by a skip connection: half, although the other has none any more."""
    space = NasBench201(4, 1)
    rows = [row.name for row in space.groups[0].rows]
    with_skip, without = ("none", "skip_connect"), ("none", "nor_conv_3x3")
    later = space.narrowed({"cell": {row: with_skip if row == rows[0] else without for row in rows}}, 0)
    assert skip_share({"cell": torch.tensor([[0.1, 0.9]] * 6)}, later.groups) == pytest.approx(1 / 6)
    assert skip_share({"cell": torch.rand(6, 4)}, space.without(("skip_connect",)).groups) is None
