"""Counted costs, against torch's own counter of operations and the networks' own parameters."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from poise.costs.costs import Costs, decisions, eligible
from poise.costs.counting import cost_of, count, total
from poise.errors import Refused
from poise.spaces import SPACES, ImageShape
from poise.spaces.everything import costed
from poise.spaces.space import genotype_of
from poise.supernet.groups import Kept, one_hot, searchable
from poise.supernet.narrowing import without

TASK = ImageShape(3, (12, 9), 4)
SIZES: dict[str, dict[str, int]] = {
    "mobile": {"channels": 8},
    "nasbench201": {"channels": 4, "cells": 2},
    "darts": {"channels": 4, "cells": 4},
    "s4": {"channels": 4, "cells": 3},
}


@cache
def counted(space: Any, name: str, metric: str = "macs") -> Costs:
    return count(space, TASK, metric, **SIZES[name])


def regular(space: Any, seed: int) -> Kept:
    """A random choice of the kind that selections return."""
    draw = random.Random(seed)
    kept: dict[str, tuple[tuple[int, ...], ...]] = {}
    for group in searchable(space.groups):
        rows: list[tuple[int, ...]] = [()] * len(group.rows)
        for node, number in decisions(group):
            for row in draw.sample(list(node), number):
                rows[row] = (draw.choice(eligible(group, row)),)
        kept[group.name] = tuple(rows)
    return kept


@pytest.mark.parametrize("name", SIZES)
def test_one_hot_mixtures_cost_what_the_network_does(name: str) -> None:
    space: Any = SPACES[name]()
    sizes = SIZES[name]
    costs = {metric: counted(space, name, metric) for metric in ("macs", "parameters")}
    for seed in range(2):
        kept = regular(space, seed)
        genotype = genotype_of(name, kept, space.groups)
        network = space.network(genotype, TASK, **sizes).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, 12, 9))
        true = {"macs": counter.get_total_flops() / 2, "parameters": sum(w.numel() for w in network.parameters())}
        mixture = {name: rows[0] for name, rows in one_hot(kept, space.groups, torch.zeros(1).double()).items()}
        for metric, value in true.items():
            assert costs[metric].of(kept) == value
            assert float(costs[metric].expected(mixture)) == pytest.approx(value, rel=1e-12)
            assert cost_of(space, genotype, TASK, metric, **sizes) == value


def test_groups_without_some_candidates_keep_their_places() -> None:
    for name in ("darts", "nasbench201"):
        space: Any = SPACES[name]()
        costs = counted(space, name)
        smaller = without(space.groups, ("none", "skip_connect"))
        fewer = costs.left(smaller)
        assert costs.fixed == fewer.fixed
        assert fewer.groups == smaller
        for group in smaller:
            whole = next(g for g in space.groups if g.name == group.name)
            for row in range(len(group.rows)):
                columns = [whole.rows[row].candidates.index(c) for c in group.rows[row].candidates]
                assert torch.equal(fewer.candidates[group.name][row], costs.candidates[group.name][row, columns])


def test_partial_channels_change_no_network() -> None:
    space: Any = SPACES["darts"]()
    whole, part = (counted(s, "darts") for s in (space, SPACES["darts"](partial=4)))
    assert [group.name for group in part.groups] == ["normal", "reduce"]
    assert all(torch.equal(whole.candidates[name], part.candidates[name]) for name in ("normal", "reduce"))


def test_an_auxiliary_head_is_not_counted() -> None:
    space: Any = SPACES["darts"]()
    genotype = genotype_of("darts", regular(space, 0), space.groups)
    bare, more = (space.network(genotype, TASK, **SIZES["darts"], auxiliary=head) for head in (False, True))
    for metric in ("macs", "parameters"):
        assert total(more, TASK, metric) == total(bare, TASK, metric)
    assert more.training, "counting leaves a network as it was"
    assert next(more.parameters()).device.type == "cpu"


def test_a_space_without_costs_is_refused() -> None:
    space: Any = SPACES["nasbench1shot1-1"]()
    with pytest.raises(Refused, match="space 'nasbench1shot1-1' cannot say what its networks cost"):
        costed(space)
