"""Every registered method on every kind of space, and every pair of slot values: a search runs, or is refused with a
reason. Derived from the registries: what is registered is tested."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
import torch
from engine_support import TASK, TEXT_TASK, searcher, small_supernet, state_of, text_searcher

from covering import Choice, Row, covering, few_of_all, pairs_of
from full import FULL
from poise.costs.costs import Aim, Costs, aims
from poise.costs.target import CostTarget
from poise.diagnostics.diagnostic import all_of
from poise.engine.search import search
from poise.errors import Refused
from poise.methods import METHODS, Method, NoCurriculum
from poise.methods.slots import SLOTS
from poise.selection.perturbation import PerturbationRule
from poise.spaces import SPACES, TextShape
from poise.spaces.space import shape_kind
from poise.supernet.groups import searchable
from poise.supernet.narrowing import without

KEYS = {
    "epoch", "train_loss", "train_accuracy", "search_loss", "search_accuracy", "learning_rate", "mixture", "alignment",
    "skip_share", "penalty", "alphas", "seconds", "metric",
}  # fmt: skip

EPOCHS = 3
"""Of a search that no curriculum is too long for. What runs here is its first stage alone; tests/engine/test_stages.py
runs all."""


def tiny(name: str) -> Any:
    """The smallest space of that name in which normal cells have company: sizes are shrunk where the space has them."""
    cls = SPACES[name]
    if shape_kind(cls) is TextShape:
        return cls(units=4, nodes=3)
    sizes = {"channels": 4, "cells": 4} if name != "nasbench201" else {"channels": 4, "cells": 1}
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    return cls(**{key: value for key, value in sizes.items() if key in known})


def costs(groups: Any) -> Costs:
    """Networks that cost from 1, with the first candidates, to 2, with the last ones."""
    chosen = searchable(groups)
    rows = sum(len(group.rows) for group in chosen)
    found = {g.name: torch.linspace(0, 1 / rows, g.shape[1], dtype=torch.float64).expand(g.shape) for g in chosen}
    return Costs("macs", 1.0, chosen, found)


def numbers(value: Any) -> Iterator[float]:
    """Every number of a record; None where a method has no such number."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif value is not None and not isinstance(value, str):
        yield float(value)


def run(method: Method, supernet: Any, text: bool = False) -> None:
    """Two epochs of one step (of two on text), so that schedules are past their zero."""
    found = (text_searcher if text else searcher)(method, supernet=supernet, count=6, size=6, epochs=2)
    found.aim = Aim(CostTarget("macs", 1.5), costs(supernet.groups))
    before = state_of(found)
    needed = getattr(method.guard, "diagnostics", ())
    history = search(found, diagnose=all_of(needed))
    after = state_of(found)
    assert len(history) == 2
    for record in history:
        also = {f"{half}_{name}" for half in ("train", "search") for name in found.objective.derived(1.0)}
        known = {name for name in also if record[name.replace("perplexity", "loss")] is not None}
        known |= {"expected_cost"} if aims(method.penalty) else set()
        assert set(record) == KEYS | set(needed) | known
        assert all(math.isfinite(number) for number in numbers(record))
        assert set(record["mixture"]) == {group.name for group in found.groups}
    assert all(torch.isfinite(value).all() for value in after.values())
    trains = method.trains_alphas(2)
    for name in found.alphas:
        assert torch.equal(after[f"alphas.{name}"], before[f"alphas.{name}"]) != trains, f"alphas {name}"
    assert (history[-1]["search_loss"] is not None) == trains
    moved = [name for name in found.weights if not torch.equal(after[name], before[name])]
    assert len(moved) == len(found.weights), "every weight moves"


def searched(value: Method, space: Any) -> tuple[Any, Any]:
    """The space as the method searches it, but for its depth, and what is left of its groups. Raises `Refused` where it
    cannot."""
    found = value.connections(space)
    groups = without(found.groups, value.without)
    value.check(groups, EPOCHS)
    return found, groups


FAMILIES = {SPACES[name].__mro__[-2]: None for name in SPACES}
"""Spaces of one class, which differ in candidates or graphs only, are one family."""


KINDS = few_of_all({name: [(slot, type(getattr(METHODS[name].build(), slot))) for slot in SLOTS] for name in METHODS})
"""Methods that have whatever any method has."""


def brief(method: Method) -> Method:
    """With an attack of 2 steps."""
    attacks = hasattr(method.perturbation, "steps")
    return replace(method, perturbation=replace(method.perturbation, steps=2)) if attacks else method  # type: ignore[type-var]


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_is_checked_on_every_space_and_runs_on_every_family(method: str) -> None:
    """The methods take turns with the spaces of a family; of a sample, those of the same kinds as others with the
    families, too."""
    value, turn = brief(METHODS[method].build()), list(METHODS).index(method)
    for number, family in enumerate(FAMILIES):
        fits = []
        for name in SPACES:
            if issubclass(SPACES[name], family):
                space = tiny(name)
                try:
                    fits.append(searched(value, space))
                except Refused as refusal:
                    reason = str(refusal)
                    alone = all(group.layers == 1 for group in space.groups)
                    cells = hasattr(space, "partial")
                    fair = "layers that play the same part" in reason and alone
                    assert fair or ("no cells with edges" in reason and not cells), name
        if fits and (FULL or method in KINDS or turn % len(FAMILIES) == number):
            space, groups = fits[turn % len(fits)]
            text = shape_kind(space) is TextShape
            torch.manual_seed(0)
            run(value, space.supernet(TEXT_TASK if text else TASK, groups), text)


ARGUMENTS: dict[str, Any] = {
    "terms": lambda: tuple(build("penalty", kind) for kind in SLOTS["penalty"] if kind != "sum"),
}
"""What a slot value without defaults is built with, by field."""


def build(slot: str, kind: str) -> Any:
    cls = SLOTS[slot][kind]
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(cls)}
    given = {name: ARGUMENTS[name]() for name, needed in known.items() if needed}
    return cls(**given, **({"steps": 2} if "steps" in known else {}))  # of an attack


VALUES = [(slot, kind) for slot in SLOTS for kind in SLOTS[slot]]


GROUPS = small_supernet().groups


@pytest.mark.parametrize("value", VALUES, ids="=".join)
def test_every_pair_of_slot_values_makes_sense_or_is_refused_with_a_reason(value: Choice) -> None:
    for other in VALUES:
        if other[0] == value[0]:
            continue
        method = Method(**{slot: build(slot, kind) for slot, kind in (value, other)})
        try:
            method.check(GROUPS, EPOCHS)
        except Refused as refusal:
            slot, reason = str(refusal).split("=", 1)
            assert slot in SLOTS, other
            assert len(reason.split(": ", 1)[1]) > 20, other
            assert not method.trains_alphas(2), "nothing else rules a value out on these groups"


def agree(one: Choice, other: Choice) -> bool:
    """Whether two slot values make sense together, with a selection that nothing rules out."""
    given = {slot: build(slot, kind) for slot, kind in (one, other)}
    try:
        Method(**{"selection": PerturbationRule(), **given}).check(GROUPS, EPOCHS)
    except Refused:
        return False
    return True


ROWS = covering({slot: list(SLOTS[slot]) for slot in SLOTS}, agree)


def test_every_two_slot_values_that_make_sense_together_stand_in_a_row() -> None:
    held = {pair for row in ROWS for pair in pairs_of(row)}
    for one, other in itertools.combinations(VALUES, 2):
        if one[0] != other[0]:
            assert (frozenset((one, other)) in held) == agree(one, other), (one, other)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "+".join(row.values()))
def test_slot_values_run_together(row: Row) -> None:
    method = Method(**{slot: build(slot, kind) for slot, kind in row.items()})
    supernet: Any = small_supernet()
    if method.connections != Method().connections:  # they mean nothing in a module of one's own
        supernet = method.connections(tiny("nasbench201")).supernet(TASK)
    method.check(supernet.groups, EPOCHS)
    run(method, supernet)


def test_what_needs_trained_alphas_is_refused_without_them() -> None:
    blank = build("curriculum", "blank")
    refused: dict[str, str] = {}
    for slot, kind in VALUES:
        if slot == "curriculum":
            continue
        chosen: dict[str, Any] = {"selection": PerturbationRule(), slot: build(slot, kind)}
        try:
            Method(curriculum=blank, **chosen).check(small_supernet().groups, 2)
        except Refused as refusal:
            refused[f"{slot}={kind}"] = str(refusal)
        Method(curriculum=NoCurriculum(), **chosen).check(small_supernet().groups, 2)
    assert {"hypergradient=unrolled", "penalty=zero-one", "selection=magnitude"} <= set(refused)
    assert all(reason.startswith(f"{value}: ") for value, reason in refused.items())
