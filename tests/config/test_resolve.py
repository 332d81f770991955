"""Layers of configuration: who wins, what is published, what is written out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import poise
from poise.config.reading import parse_override
from poise.config.resolve import dump, override, resolve
from poise.config.values import build_method, plain
from poise.costs.target import CostTarget
from poise.errors import Refused
from poise.methods.preset import METHODS
from poise.spaces.space import SPACES
from poise.supernet.narrowing import without
from poise.workflow.prepare import Preparation

PUBLISHED = list(itertools.product(SPACES, METHODS, ["paper"]))
"""What was published may be said of a method on one space: these come in full."""
OTHERS = [
    (list(SPACES)[turn % len(SPACES)], list(METHODS)[turn % len(METHODS)], preset)
    for preset in ("demo", "small")
    for turn in range(max(len(SPACES), len(METHODS)))
]


@pytest.mark.parametrize(("space", "method", "preset"), PUBLISHED + OTHERS)
def test_names_resolve_together_and_round_trip(space: str, method: str, preset: str, tmp_path: Path) -> None:
    found = resolve(space=space, method=method, preset=preset)
    (tmp_path / "config.yaml").write_text(dump(found))
    assert resolve(file=tmp_path / "config.yaml") == found
    value = found.method
    assert build_method(plain(value)) == value
    groups = without(found.space.groups, value.without)
    if getattr(value.alignment, "required", False) and all(group.layers == 1 for group in groups):
        with pytest.raises(Refused, match="layers that play the same part"):
            value.check(groups, found.search.epochs)
    else:
        value.check(groups, found.search.epochs)


def test_published_settings() -> None:
    paper: dict[str, Any] = {"preset": "paper"}
    darts = resolve(space="darts", method="darts", **paper)
    assert darts.space == poise.spaces.Darts(channels=16, cells=8)
    assert (darts.search.epochs, darts.search.batch_size) == (50, 64)
    weights, alphas = darts.search.weights, darts.search.alphas
    assert (weights.learning_rate, weights.final_learning_rate, weights.momentum) == (0.025, 0.001, 0.9)
    assert (weights.weight_decay, weights.clip, weights.nesterov) == (3e-4, 5.0, False)
    assert (alphas.learning_rate, alphas.betas, alphas.weight_decay) == (3e-4, (0.5, 0.999), 1e-3)
    train = darts.train
    assert (train.channels, train.cells, train.epochs, train.batch_size) == (36, 20, 600, 96)
    assert (train.auxiliary, train.cutout, train.drop_path) == (0.4, 16, 0.2)
    assert (train.weights.learning_rate, train.weights.final_learning_rate) == (0.025, 0.0)

    fair = resolve(space="darts", method="fair-darts", **paper)
    assert (fair.search.weights.learning_rate, fair.search.weights.final_learning_rate) == (0.005, 0.001)
    assert (fair.search.batch_size, fair.search.alphas.learning_rate, fair.search.alphas.betas) == (
        128,
        3e-3,
        (0.9, 0.999),
    )
    strengths = {
        space: resolve(space=space, method="lambda-darts").method.alignment.strength  # type: ignore[attr-defined]
        for space in ("darts", "nasbench201", "s1", "s4")
    }
    assert strengths == {"darts": 0.125, "nasbench201": 0.25, "s1": 0.25, "s4": 0.25}
    published = resolve(space="nasbench201", method="lambda-darts", **paper).search
    assert (published.weights_first, published.alphas.learning_rate) == (True, 1e-4)
    assert (published.epochs, published.weights.nesterov, published.weights.weight_decay) == (100, False, 3e-4)
    assert not resolve(space="nasbench201", method="lambda-darts").search.weights_first

    staged = resolve(space="darts", method="p-darts", **paper)
    assert (staged.space.cells, staged.space.channels, staged.search.epochs) == (5, 16, 75)
    assert (staged.search.batch_size, staged.search.alphas.learning_rate) == (96, 6e-4)
    assert staged.search.weights.final_learning_rate == 0.0
    curriculum: Any = staged.method.curriculum
    assert (curriculum.deeper, curriculum.candidates, curriculum.skip_rates) == ((0, 6, 12), (8, 5, 3), (0.0, 0.4, 0.7))
    assert staged.method.selection.skips == 2  # type: ignore[attr-defined]
    given = resolve(space=SPACES["darts"](), method="p-darts", **paper)
    assert given.space.cells == 8, "a space that is a value is taken as it is"
    assert resolve(space="darts", method="p-darts", overrides=[("space.cells", 7)], **paper).space.cells == 7
    small: Any = resolve(space="nasbench201", method="p-darts").method.curriculum
    assert (small.deeper, small.candidates) == ((0, 2, 4), (5, 4, 3))


def with_published(monkeypatch: pytest.MonkeyPatch, published: Any) -> str:
    """A method of this name that was published so."""
    found = replace(METHODS["sdarts-rs"], name="published", published=published)
    monkeypatch.setitem(METHODS._items, "published", found)
    return "published"


def test_a_method_may_be_published_with_settings_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    name = with_published(
        monkeypatch,
        {
            "*": {"search.epochs": 7, "train.weights.learning_rate": 0.07, "perturbation.final": 0.2},
            "darts": {"space.cells": 6, "train.drop_path": 0.3, "method.perturbation.initial": 0.1},
        },
    )
    found = resolve(space="darts", method=name, preset="paper")
    smoothing: Any = found.method.perturbation
    assert (found.search.epochs, found.space.cells, smoothing.initial, smoothing.final) == (7, 6, 0.1, 0.2)
    assert (found.train.drop_path, found.train.weights.learning_rate) == (0.3, 0.07)
    other = resolve(space="nasbench201", method=name, preset="paper")
    assert (other.search.epochs, other.train.drop_path, other.train.weights.learning_rate) == (7, 0.0, 0.07)
    text = resolve(space="recurrent", method=name, preset="paper")
    assert text.search.epochs == 50, "it was published for images"
    small = resolve(space="darts", method=name)
    assert (small.search.epochs, small.train.drop_path) == (12, 0.1), "published settings go with the preset paper"
    chosen = resolve(space="darts", method=name, preset="paper", overrides=[("train.drop_path", 0.1)])
    assert chosen.train.drop_path == 0.1


@pytest.mark.parametrize(
    ("scope", "setting", "message"),
    [
        ("*", "train.drop_pth", "train.drop_pth.*did you mean 'train.drop_path'"),
        ("*", "epochs", "unknown setting 'epochs'"),
        ("*", "serch.epochs", "serch.epochs.*did you mean 'search.epochs'"),
        ("*", "space.cels", "cels.*did you mean 'cells'"),
        ("*", "perturbation.fnal", "fnal.*did you mean 'final'"),
        ("nasbench-201", "train.drop_path", "nasbench-201.*did you mean 'nasbench201'"),
    ],
)
def test_a_method_published_with_a_typo_is_refused(
    scope: str, setting: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = with_published(monkeypatch, {scope: {setting: 0.25}})
    with pytest.raises(Refused, match=message):
        resolve(space="darts", method=name, preset="paper")


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    config = {
        "preset": "demo",
        "space": {"name": "nasbench201", "channels": 5},
        "method": {"name": "sdarts-rs", "perturbation": {"final": 0.5}},
        "search": {"epochs": 3, "alphas": {"learning_rate": 0.1}},
        "seed": 1,
    }
    file.write_text(yaml.safe_dump(config))
    found = resolve(file=file, overrides=[("search.epochs", 4)], seed=2)
    assert found.space == poise.spaces.NasBench201(channels=5, cells=1)
    assert found.method.perturbation == poise.methods.RandomSmoothing(initial=0.03, final=0.5, ramp=1.0)
    assert (found.search.epochs, found.search.alphas.learning_rate, found.seed) == (4, 0.1, 2)
    assert found.search.alphas.betas == (0.5, 0.999)
    assert resolve(file=file, method="sdarts-adv", space="s2", preset="small").space.channels == 5
    assert resolve(file=file, overrides=[("perturbation", "adversarial")]).method.perturbation.steps == 7


def test_overrides_leave_no_trace() -> None:
    before = dump(resolve(preset="demo"))
    resolve(preset="demo", overrides=[("search.alphas.learning_rate", 0.5), ("search.weights.momentum", 0.5)])
    assert dump(resolve(preset="demo")) == before


@pytest.mark.parametrize("section", ["space", "task", "method"])
def test_a_section_has_no_kind(section: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"{section}: {{kind: 0}}\n")
    with pytest.raises(Refused, match=f"unknown (setting of {section}|slot) 'kind'"):
        resolve(file=tmp_path / "config.yaml")


def test_a_slot_that_changes_kind_forgets_the_settings_of_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"method": {"name": "fair-darts", "selection": {"kind": "perturbation"}}}))
    assert plain(resolve(file=file).method.selection) == {
        "kind": "perturbation",
        "criterion": "metric",
        "tune_epochs": 5,
        "confidence": None,
        "tune_schedule": "constant",
    }


def test_penalties_add_up() -> None:
    penalty = [{"kind": "zero-one", "weight": 2.0}, {"kind": "zero-one", "norm": "l1"}]
    found = resolve(overrides=[("penalty", penalty)])
    assert found.method.penalty == poise.methods.Sum((poise.methods.ZeroOne(2.0), poise.methods.ZeroOne(norm="l1")))
    assert override(found, []) == found


def test_values_are_taken_as_they_are() -> None:
    space = poise.spaces.s2(channels=3, cells=5)
    method = poise.Method(relaxation=poise.methods.Sigmoid())
    found = resolve(space=space, method=method, preset="paper")
    assert found.space == space
    assert found.method == method
    assert found.method_name == "custom"
    assert found.train.channels == 36


class Louder(poise.methods.ZeroOne):
    """Inherits a kind that names another class."""


class Nameless:
    """A slot's value without a kind."""


class Deeper(poise.spaces.nasbench201):
    """Inherits a name that names another space."""


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (poise.Method(penalty=Louder()), r"penalty holds a Louder, .*@fills\(\"penalty\"\)"),
        (poise.Method(penalty=poise.methods.Sum((poise.methods.ZeroOne(), Louder()))), "holds a Louder"),
        (poise.Method(selection=Nameless()), r"selection holds a Nameless, .*@selects\(\)"),  # type: ignore[arg-type]
    ],
)
def test_what_no_configuration_can_name_is_refused(method: poise.Method, message: str) -> None:
    """It would be replaced by its namesake."""
    with pytest.raises(Refused, match=message):
        resolve(method=method)


def test_a_space_with_the_name_of_another_is_refused() -> None:
    with pytest.raises(Refused, match="Deeper has another space's name, 'nasbench201'"):
        resolve(space=Deeper())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([("search.weights", 3)], "search.weights"),
        ([("search.alphas.betas", [0.9])], "search.alphas.betas"),
        ([("search.weights.momentum", 1.0)], "search.weights.momentum"),
        ([("method.relaxation", 3)], "needs a kind"),
        ([("method.relaxation.kind", "softmx")], "did you mean 'softmax'"),
        ([("method.slot", "x")], "unknown slot 'slot'"),
        ([("penalty.weight.value", 3)], "weight"),
        ([("space.name", "dart")], "chosen with --space"),
        ([("seed", 2**64)], "seed"),
    ],
)
def test_refusals_name_the_setting(overrides: list[tuple[str, Any]], message: str) -> None:
    with pytest.raises(Refused, match=message):
        resolve(method="fair-darts", overrides=overrides)


def test_a_cost_target_is_a_setting_of_the_search() -> None:
    given = [("search.target.metric", "macs"), ("search.target.value", 2e7)]
    target = CostTarget("macs", 2e7)
    bare, aimed = (resolve(space="nasbench201", method="darts", cost_target=aim) for aim in (None, target))
    assert bare.search.target is None
    assert override(bare, given).search.target == aimed.search.target == target
    assert override(bare, given).method == bare.method, "no slot changes but with cost_target"
    assert [getattr(aimed.method, slot).kind for slot in ("penalty", "selection")] == ["expected-cost", "budget"]
    assert resolve(space="nasbench201", method="darts", overrides=given).search.target == target
    for wrong, message in (
        ([*given, ("search.target.price", 1)], r"search\.target\.price"),
        (given[:1], r"search\.target\.value: Field required"),
        ([*given, ("search.target.metric", "mac")], "did you mean 'macs'"),
        ([*given, ("search.target.value", -1)], "above 0"),
    ):
        with pytest.raises(Refused, match=message):
            resolve(space="nasbench201", method="darts", overrides=wrong)


def test_what_goes_by_a_target_is_refused_without_one() -> None:
    for slot in ("penalty=expected-cost", "selection=budget", "penalty=[zero-one, expected-cost]"):
        settings = resolve(space="nasbench201", method="darts", overrides=[parse_override(slot)])
        with pytest.raises(
            Refused,
            match=r"^(expected-cost|budget) goes by what the network .* pass --target-macs",
        ):
            Preparation.of(settings)


def test_runs_of_an_earlier_poise_say_that_nothing_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("space: {name: darts, cells: 4, excluded: [], kept: []}\n")
    assert resolve(file=file).space == resolve(space="darts", overrides=[("space.cells", 4)]).space
    file.write_text("space: {name: darts, excluded: [none]}\n")
    with pytest.raises(Refused, match=r"unknown setting of space 'excluded'"):
        resolve(file=file)


def test_a_task_brings_settings_that_its_networks_need() -> None:
    """A dense head has no second one, whatever the space's preset says."""
    for preset in ("small", "paper"):
        assert resolve(space="darts", preset=preset).train.auxiliary == 0.4
        assert resolve(task="segmentation", space="darts", preset=preset).train.auxiliary == 0
    told = resolve(task="segmentation", space="darts", overrides=[("train.auxiliary", 0.4)])
    with pytest.raises(Refused, match="a dense head has no second; set it to 0"):
        Preparation.of(told)
    with pytest.raises(Refused, match="networks of space 'mobile' answer for whole images"):
        Preparation.of(resolve(task="segmentation", space="mobile"))
