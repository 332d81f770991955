"""The contract of every registered space; a new space is tested by being registered."""

from __future__ import annotations

import inspect
import random
from dataclasses import fields
from typing import Any

import pytest
import torch

from poise.config.values import build
from poise.engine.settings import SearchSettings, TrainSettings
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import SPACES, ImageShape, ModuleSpace, Space, TextShape
from poise.spaces.space import genotype_of, kept_of, shape_kind
from poise.supernet.choice import Choice
from poise.supernet.groups import Kept, one_hot
from poise.supernet.inputs import Answer, TextBatch
from poise.supernet.narrowing import without

TASK = ImageShape(1, (8, 9), 3)
TASKS: dict[type, Any] = {ImageShape: TASK, TextShape: TextShape(3, 2)}
"""What a space is for -> the smallest of its kind."""

SIZES = {ImageShape: ("channels", "cells"), TextShape: ("units", "nodes")}
PRESETS = ("demo", "small", "paper")


def small(name: str) -> Any:
    """The smallest instance: its demo preset with 4 channels, or 4 units."""
    cls: Any = SPACES[name]
    space: Any = build(cls, {**cls.presets["demo"].get("space", {}), SIZES[shape_kind(cls)][0]: 4}, "space")
    return space


def task_of(space: Any) -> Any:
    return TASKS[shape_kind(space)]


def inputs_of(space: Any, count: int, dtype: torch.dtype = torch.float32) -> Any:
    """Inputs of ``count`` predictions for three classes: images, or a piece of two texts."""
    if shape_kind(space) is ImageShape:
        return torch.randn(count, 1, 8, 9, dtype=dtype)
    return TextBatch(torch.randint(0, 3, (count // 2, 2)))


def logits_of(network: Any, space: Any, inputs: Any, *mixture: Any) -> Any:
    """Whatever else the network answers."""
    found = network(inputs.tokens if shape_kind(space) is TextShape and not mixture else inputs, *mixture)
    if isinstance(found, torch.Tensor):
        return found
    return found.outputs if mixture else found.logits


def sizes_of(name: str) -> list[str]:
    """The fields of the space that say how large its supernet is."""
    known = {field.name for field in fields(SPACES[name])}  # type: ignore[arg-type]
    return [size for size in SIZES[shape_kind(SPACES[name])] if size in known]


def sized(name: str, **sizes: int) -> dict[str, int]:
    """Those sizes that the space's networks have: as its supernets, and those for text channels alone."""
    known = sizes_of(name) if shape_kind(SPACES[name]) is ImageShape else ["channels"]
    return {size: value for size, value in sizes.items() if size in known}


def random_kept(space: Space, seed: int) -> Kept:
    draw = random.Random(seed)
    return {
        group.name: tuple(
            tuple(sorted(draw.sample(range(len(row.candidates)), max(1, group.min_kept)))) for row in group.rows
        )
        for group in space.groups
    }


def test_some_spaces_exist() -> None:
    assert {"darts", "mobile", "nasbench201", "s1", "s2", "s3", "s4"} <= set(SPACES)


@pytest.mark.parametrize("name", SPACES)
class TestSpace:
    def test_is_documented_and_named(self, name: str) -> None:
        assert SPACES[name].name == name
        assert len(inspect.getdoc(SPACES[name]) or "") > 40
        assert inspect.getdoc(SPACES[name]) != inspect.getdoc(SPACES[name].__mro__[1])
        assert isinstance(small(name), Space)

    def test_is_a_value(self, name: str) -> None:
        assert small(name) == small(name)
        assert hash(small(name)) == hash(small(name))
        for wrong in (0, -1, True, 2.5):
            for field in sizes_of(name):
                with pytest.raises(Refused, match=field):
                    SPACES[name](**{field: wrong})  # type: ignore[arg-type]

    def test_groups_are_consistent(self, name: str) -> None:
        groups = small(name).groups
        assert len({group.name for group in groups}) == len(groups) > 0
        for group in groups:
            assert group.layers >= 1
            assert len({row.name for row in group.rows}) == len(group.rows)
            for row in group.rows:
                assert len(set(row.candidates)) == len(row.candidates) == group.shape[1] >= 2
            if group.nodes:
                assert sorted(row for node in group.nodes for row in node) == list(range(len(group.rows)))
                assert group.inputs is not None
                for node in group.nodes:
                    assert len(node) >= group.inputs
                    assert len({group.rows[row].name.split("->")[1] for row in node}) == 1
            assert group.max_kept is None or group.max_kept >= max(group.min_kept, 1)

    def test_supernet_uses_every_layer_row_and_candidate(self, name: str) -> None:
        space = small(name)
        torch.manual_seed(0)
        supernet = space.supernet(task_of(space)).double()
        assert supernet.groups == space.groups
        inputs = inputs_of(space, 4, torch.float64)
        mixture = {g.name: torch.rand(g.layers, *g.shape, dtype=torch.float64).requires_grad_() for g in space.groups}
        logits = logits_of(supernet, space, inputs, mixture)
        assert logits.shape == (4, 3)
        upstream = torch.randn(4, 3, dtype=torch.float64)
        for group, gradient in zip(
            space.groups, torch.autograd.grad((logits * upstream).sum(), list(mixture.values())), strict=True
        ):
            for row, choice in enumerate(group.rows):
                for column, candidate in enumerate(choice.candidates):
                    moved = gradient[:, row, column].abs() > 1e-9
                    assert moved.any() == (candidate != "none"), (group.name, choice.name, candidate)

    def test_genotypes_make_networks_and_come_back(self, name: str) -> None:
        space = small(name)
        for seed in range(4):
            kept = random_kept(space, seed)
            genotype = genotype_of(name, kept, space.groups)
            space.check(genotype)
            assert Genotype.from_json(genotype.to_json()) == genotype
            assert Genotype.parse(space.describe(genotype), space=name) == genotype
            none_left_out = {
                group.name: tuple(
                    tuple(i for i in indices if row.candidates[i] != "none")
                    for row, indices in zip(group.rows, kept[group.name], strict=True)
                )
                for group in space.groups
            }
            assert kept_of(genotype, space.groups) == none_left_out
            torch.manual_seed(0)
            network = space.network(genotype, task_of(space), **sized(name, channels=4, cells=3))
            inputs = inputs_of(space, 2)
            assert logits_of(network, space, inputs).shape == (2, 3)
            answer = space.supernet(task_of(space))(inputs, one_hot(kept, space.groups))
            assert (answer.outputs if isinstance(answer, Answer) else answer).shape == (2, 3)

    def test_network_size(self, name: str) -> None:
        space = small(name)
        genotype = genotype_of(name, random_kept(space, 0), space.groups)

        def weights(**sizes: int) -> int:
            with torch.device("meta"):
                network = space.network(genotype, task_of(space), **sizes)
            return sum(weight.numel() for weight in network.parameters())

        least = sized(name, channels=4, cells=3)
        for size in least:
            assert weights(**least) < weights(**{**least, size: 2 * least[size]}) < weights()
            for wrong in (0, -2):
                with pytest.raises(Refused, match=size):
                    space.network(genotype, task_of(space), **{size: wrong})
        for size in {"channels", "cells"} - set(least):
            with pytest.raises(Refused, match=f"{size}.*got 3"):
                space.network(genotype, task_of(space), **{size: 3})

    def test_without(self, name: str) -> None:
        space = small(name)
        present = {candidate for group in space.groups for row in group.rows for candidate in row.candidates}
        assert without(space.groups, ()) == space.groups
        smaller = without(space.groups, ("none",))
        assert without(smaller, ("none",)) == smaller
        left = {candidate for group in smaller for row in group.rows for candidate in row.candidates}
        assert left == present - {"none"}
        assert space.supernet(task_of(space), smaller).groups == smaller
        with pytest.raises(Refused, match=r"2 are needed|cannot be left out"):
            without(space.groups, tuple(sorted(present)))

    def test_wrong_genotypes_are_refused(self, name: str) -> None:
        space = small(name)
        genotype = genotype_of(name, random_kept(space, 1), space.groups)
        choices = {group: dict(rows) for group, rows in genotype.choices.items()}
        group = space.groups[-1]
        row = group.rows[0]
        real = next(candidate for candidate in row.candidates if candidate != "none")

        def refused(message: str, wrong: dict[str, Any], where: str = name) -> None:
            with pytest.raises(Refused, match=message):
                space.check(Genotype(where, wrong))
            with pytest.raises(Refused, match=message):
                space.network(Genotype(where, wrong), task_of(space))

        refused("belongs to space 'other', expected", choices, "other")
        refused("has the groups", {**choices, "more": {}})
        refused("has the groups", {key: value for key, value in choices.items() if key != group.name})
        refused("unknown row", {**choices, group.name: {"9->9": (real,)}})
        refused(f"did you mean '{real}'", {**choices, group.name: {**choices[group.name], row.name: (real + "x",)}})
        refused("keeps 'none'", {**choices, group.name: {**choices[group.name], row.name: ("none",)}})
        if group.nodes:
            refused("computes nothing", {**choices, group.name: {}})
            dead = group.rows[group.nodes[-1][-1]]
            refused("computes nothing", {**choices, group.name: {dead.name: (dead.candidates[-1],)}})
        if group.max_kept == 1:
            both = tuple(candidate for candidate in row.candidates if candidate != "none")[:2]
            refused("keeps 2 candidates", {**choices, group.name: {row.name: both}})


EVERY = [*SPACES, "custom"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", EVERY)
def test_presets(name: str, preset: str) -> None:
    """Every key is one that exists, and what it asks of a network is something that the space's networks have."""
    cls: Any = ModuleSpace if name == "custom" else SPACES[name]
    assert set(cls.presets) >= set(PRESETS)
    parts = cls.presets[preset]
    assert set(parts) <= {"space", "data", "search", "train"}
    SearchSettings(**parts["search"])
    train = TrainSettings(**parts["train"])
    assert set(parts.get("data", {})) <= {"size", "train_limit", "valid_limit"}
    if name == "custom":
        torch.manual_seed(0)
        space: Any = cls(torch.nn.Sequential(Choice([torch.nn.ReLU(), torch.nn.Tanh()])))
        kept: Kept = {"0": ((0,),)}
    else:
        space = build(cls, parts["space"], "space")
        kept = random_kept(space, 0)
    with torch.device("meta"):
        network = space.network(
            genotype_of(name, kept, space.groups),
            task_of(space),
            channels=train.channels,
            cells=train.cells,
            auxiliary=train.auxiliary > 0,
        )
    if train.drop_path > 0:
        assert hasattr(network, "heads")


def test_published_sizes() -> None:
    for name in ("darts", "s1", "s2", "s3", "s4", "nasbench201"):
        space = SPACES[name].presets["paper"]["space"]
        assert space == {"channels": 16, "cells": 5 if name == "nasbench201" else 8}
        assert SPACES[name]() == SPACES[name](**space)
    assert [group.layers for group in SPACES["darts"]().groups] == [6, 2]
    assert [group.aligned for group in SPACES["darts"]().groups] == [True, False]
    assert [group.layers for group in SPACES["nasbench201"]().groups] == [15]


N, M, A, K = "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"
S3, S5, D3, D5 = "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"


@pytest.mark.parametrize(
    ("name", "normal", "reduce"),
    [
        ("darts", [(N, M, A, K, S3, S5, D3, D5)] * 14, [(N, M, A, K, S3, S5, D3, D5)] * 14),
        (
            "s1",
            [
                *[(K, D3), (K, D5)],
                *[(K, D5), (K, S3), (K, D3)],
                *[(M, K), (K, S3), (K, S3), (K, D3)],
                *[(K, S3), (M, K), (K, D3), (D3, D5), (D3, D5)],
            ],
            [
                *[(M, A), (M, D3)],
                *[(M, A), (M, A), (K, D5)],
                *[(M, A), (M, S3), (K, D3), (K, D5)],
                *[(M, A), (M, A), (K, D5), (K, D5), (K, D5)],
            ],
        ),
        ("s2", [(K, S3)] * 14, [(K, S3)] * 14),
        ("s3", [(N, K, S3)] * 14, [(N, K, S3)] * 14),
        ("s4", [("noise", S3)] * 14, [("noise", S3)] * 14),
    ],
)
def test_candidate_tables(name: str, normal: list[tuple[str, ...]], reduce: list[tuple[str, ...]]) -> None:
    groups = {group.name: group for group in SPACES[name]().groups}
    names = [
        "0->2",
        "1->2",
        "0->3",
        "1->3",
        "2->3",
        "0->4",
        "1->4",
        "2->4",
        "3->4",
        "0->5",
        "1->5",
        "2->5",
        "3->5",
        "4->5",
    ]
    for kind, table in (("normal", normal), ("reduce", reduce)):
        assert [row.name for row in groups[kind].rows] == names
        assert [row.candidates for row in groups[kind].rows] == table
        assert groups[kind].nodes == ((0, 1), (2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12, 13))
        assert groups[kind].inputs == 2


def test_nasbench201_table() -> None:
    (group,) = SPACES["nasbench201"]().groups
    assert [row.name for row in group.rows] == ["0->1", "0->2", "1->2", "0->3", "1->3", "2->3"]
    assert {row.candidates for row in group.rows} == {(N, K, "nor_conv_1x1", "nor_conv_3x3", A)}
    assert (group.nodes, group.inputs, group.min_kept, group.max_kept) == ((), None, 0, 1)


def test_cells_need_a_normal_and_two_reductions() -> None:
    with pytest.raises(Refused, match="at least 3 cells"):
        SPACES["darts"](cells=2)
    assert [group.layers for group in SPACES["darts"](cells=3).groups] == [1, 2]


def test_unknown_space() -> None:
    with pytest.raises(Refused, match="unknown space 'dart'; did you mean 'darts'"):
        SPACES["dart"]
