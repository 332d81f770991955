"""What is left of a space's groups: without some candidates, or what later stages of a search have, deeper and of fewer
candidates on every row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from poise.engine.mixture_statistics import skip_share
from poise.errors import Refused
from poise.spaces import S1, S2, SPACES, Darts, ImageShape, NasBench201
from poise.spaces.space import genotype_of, holds
from poise.supernet.groups import ChoiceGroup, Kept, searchable
from poise.supernet.narrowing import narrowed, without
from textbook.supernets import state_of, textbook
from textbook.weights import randomise

TASK = ImageShape(3, (6, 6), 4)


def some(groups: Sequence[ChoiceGroup], count: int, seed: int = 0) -> dict[str, dict[str, tuple[str, ...]]]:
    """Some candidates of every row, others on each, in the rows' own order."""
    draw = random.Random(seed)
    return {
        group.name: {
            row.name: tuple(row.candidates[i] for i in sorted(draw.sample(range(len(row.candidates)), count)))
            for row in group.rows
        }
        for group in searchable(groups)
    }


@pytest.mark.parametrize("left_out", [(), ("none",), ("skip_connect",)])
@pytest.mark.parametrize("space", [Darts(4, 4), NasBench201(4, 1), Darts(4, 3, 2)])
def test_rows_and_depth(space: Any, left_out: tuple[str, ...]) -> None:
    whole = without(space.groups, left_out)
    narrowing = some(whole, 3)
    deeper = space.deeper(2)
    assert (deeper.cells, deeper.channels, deeper.partial) == (space.cells + 2, space.channels, space.partial)
    later = narrowed(without(deeper.groups, left_out), narrowing)
    layers = {"normal": space.cells + 2 - 2, "reduce": 2, "cell": 3 * (space.cells + 2)}
    assert [group.name for group in later] == [group.name for group in space.groups]
    assert [group for group in later if group.scales] == [group for group in deeper.groups if group.scales]
    for before, after in zip(searchable(whole), searchable(later), strict=True):
        assert after.layers == layers[after.name]
        assert {row.name: row.candidates for row in after.rows} == narrowing[after.name]
        for old, new in zip(before.rows, after.rows, strict=True):
            assert set(new.candidates).isdisjoint(new.dropped)
            assert set(old.candidates) == {*new.candidates, *new.dropped}
    assert narrowed(whole, {}) == whole
    fewer = some(later, 2)
    last = narrowed(later, fewer)
    assert {row.name: row.candidates for row in last[0].rows} == fewer[later[0].name]
    assert {*last[0].rows[0].candidates, *last[0].rows[0].dropped} == set(whole[0].rows[0].candidates)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("space", [Darts(2, 3), NasBench201(2, 1), Darts(4, 3, 2)])
def test_the_supernet_is_the_textbooks(space: Any, training: bool) -> None:
    later = space.deeper(1)
    groups = narrowed(later.groups, some(space.groups, 3))
    torch.manual_seed(1)
    supernet = randomise(later.supernet(TASK, groups)).train(training)
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    mixture = {g.name: torch.randn(g.layers, *g.shape, dtype=torch.float64) for g in groups}
    expected = textbook(later, state_of(supernet), images, mixture, training, groups)
    torch.testing.assert_close(supernet(images, mixture), expected, rtol=1e-9, atol=1e-9)


def test_darts_narrowed_to_the_candidates_of_s2_is_s2() -> None:
    darts, s2 = Darts(4, 5), S2(4, 5)
    kept = {group.name: {row.name: ("skip_connect", "sep_conv_3x3") for row in group.rows} for group in darts.groups}
    nets = []
    for space, groups in ((darts, narrowed(darts.groups, kept)), (s2, s2.groups)):
        torch.manual_seed(0)
        nets.append(space.supernet(TASK, groups))
    images = torch.randn(2, 3, 6, 6)
    mixture = {group.name: torch.rand(group.layers, *group.shape) for group in s2.groups}
    assert torch.equal(nets[0](images, mixture), nets[1](images, mixture))


def test_genotypes_are_the_whole_spaces() -> None:
    space = Darts(4, 3)
    later = narrowed(space.groups, some(space.groups, 3))
    kept: Kept = {group.name: tuple((1,) for _ in group.rows) for group in later}
    genotype = genotype_of("darts", kept, later)
    space.check(genotype)
    assert space.network(genotype, TASK, channels=4, cells=3)(torch.randn(2, 3, 6, 6)).shape == (2, 4)
    assert holds(later, genotype)
    assert not holds(narrowed(space.groups, some(space.groups, 3, seed=1)), genotype)


def test_what_is_not_the_spaces_is_refused() -> None:
    space = NasBench201(4, 1)
    narrowing = some(space.groups, 3)
    rows = narrowing["cell"]
    wrong: list[tuple[Any, str]] = [
        ({"cells": rows}, "other groups or rows"),
        ({"cell": {**rows, "9->9": ("none", "skip_connect")}}, "other groups or rows"),
        ({"cell": {**rows, "0->1": ("none", "nor_conv_5x5")}}, "did you mean 'nor_conv_"),
        ({"cell": {**rows, "0->1": ("none",)}}, "0->1 keeps 1 candidates; 2 are needed"),
        ({"cell": {**rows, "0->1": ("none", "skip_connect")}}, "same number of candidates"),
    ]
    for found, message in wrong:
        with pytest.raises(Refused, match=message):
            narrowed(space.groups, found)
    two = narrowed(space.groups, {"cell": dict.fromkeys(rows, ("none", "nor_conv_3x3"))})
    with pytest.raises(Refused, match="without none, skip_connect row 0->1 keeps 1 candidates; 2 are needed"):
        without(two, ("none", "skip_connect"))
    with pytest.raises(Refused, match="cells must be at most"):
        space.deeper(10**6)


def test_every_space_of_cells_can_be_deeper() -> None:
    assert {name for name in SPACES if hasattr(SPACES[name], "deeper")} == {
        "darts", "s1", "s2", "s3", "s4", "nasbench201",
    }  # fmt: skip
    assert narrowed(S1(4, 3).deeper(1).groups, some(S1(4, 3).groups, 2)) == S1(4, 4).groups


def test_rows_that_lost_their_skip_connection_still_count() -> None:
    """One of two rows is led by a skip connection: half, although the other has none any more."""
    groups = NasBench201(4, 1).groups
    rows = [row.name for row in groups[0].rows]
    with_skip, without_skip = ("none", "skip_connect"), ("none", "nor_conv_3x3")
    later = narrowed(groups, {"cell": {row: with_skip if row == rows[0] else without_skip for row in rows}})
    assert skip_share({"cell": torch.tensor([[0.1, 0.9]] * 6)}, later) == pytest.approx(1 / 6)
    assert skip_share({"cell": torch.rand(6, 4)}, without(groups, ("skip_connect",))) is None
