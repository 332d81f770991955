"""Every registered slot value and preset is documented, named, cited, and its settings are ones that exist."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_type_hints

import pytest

from poise.engine.settings import SearchSettings, TrainSettings
from poise.errors import Refused
from poise.methods import METHODS, Blank, Method, NoCurriculum, WarmUp
from poise.methods.slots import SLOTS, Progress
from poise.selection.perturbation import PerturbationRule
from poise.spaces import SPACES
from poise.supernet.groups import ChoiceGroup, Row

VALUES = [(slot, kind, SLOTS[slot][kind]) for slot in SLOTS for kind in SLOTS[slot]]
GROUPS = (ChoiceGroup("normal", 3, (Row("a", ("none", "x")),)),)


def ids(found: tuple[str, str, type]) -> str:
    return f"{found[0]}={found[1]}"


@pytest.mark.parametrize("found", VALUES, ids=ids)
def test_a_slot_value_is_a_documented_frozen_value_with_a_kind(found: tuple[str, str, type]) -> None:
    slot, kind, cls = found
    assert cls.__dict__["kind"] == kind  # type: ignore[attr-defined]
    assert "kind" not in {field.name for field in dataclasses.fields(cls)}
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "a docstring of its own"
    assert set(inspect.signature(cls).parameters) == {field.name for field in dataclasses.fields(cls)}
    assert slot in {field.name for field in dataclasses.fields(Method)}
    if slot != "selection":
        hints = get_type_hints(cls.__init__)
        assert all(field.name in hints for field in dataclasses.fields(cls))


def test_every_slot_of_a_method_has_a_registry_and_a_default_that_is_registered() -> None:
    fields = {field.name for field in dataclasses.fields(Method)} - {"without"}
    assert fields == set(SLOTS)
    for slot in fields:
        default = getattr(Method(), slot)
        assert SLOTS[slot][default.kind] is type(default)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_preset_is_documented_cited_and_a_method(name: str) -> None:
    found = METHODS[name]
    assert found.summary
    assert "arXiv:" in found.citation
    assert any(str(year) in found.citation for year in range(2015, 2100))
    method = found.build()
    assert isinstance(method, Method)
    assert method == found.build()
    hash(method)
    method.check(GROUPS, 50)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_presets_settings_exist(name: str) -> None:
    found = METHODS[name]
    method = found.build()
    for space, settings in found.settings.items():
        assert space == "*" or space in SPACES
        for key, value in settings.items():
            slot, _, field = key.partition(".")
            changed = dataclasses.replace(getattr(method, slot), **{field: value})
            assert getattr(changed, field) == value != getattr(getattr(method, slot), field), (
                "a setting changes something"
            )
    for space, settings in found.published.items():
        assert space == "*" or space in SPACES
        for key, value in settings.items():
            section, *path = key.split(".")
            if section == "space":
                assert getattr(SPACES[space](**{path[0]: value}), path[0]) == value
                continue
            if section in SLOTS:
                assert getattr(dataclasses.replace(getattr(method, section), **{path[0]: value}), path[0]) == value
                continue
            nested: dict[str, object] = {path[-1]: value}
            for parent in reversed(path[:-1]):
                nested = {parent: nested}
            read: object = {"search": SearchSettings, "train": TrainSettings}[section].model_validate(nested)
            for part in path:
                read = getattr(read, part)
            assert read == value


def test_the_published_settings() -> None:
    """The reference's numbers, one by one."""
    defaults = SearchSettings()
    assert (defaults.epochs, defaults.batch_size, defaults.weights_first) == (50, 64, False)
    weights, alphas = defaults.weights, defaults.alphas
    assert (weights.learning_rate, weights.final_learning_rate, weights.momentum) == (0.025, 0.001, 0.9)
    assert (weights.weight_decay, weights.clip, weights.nesterov) == (3e-4, 5.0, False)
    assert (alphas.learning_rate, alphas.betas, alphas.weight_decay) == (3e-4, (0.5, 0.999), 1e-3)
    for name in ("fair-darts", "fair-darts-l1"):
        fair = METHODS[name]
        assert fair.published["*"] == {
            "search.weights.learning_rate": 0.005,
            "search.weights.final_learning_rate": 0.001,
            "search.batch_size": 128,
            "search.alphas.learning_rate": 3e-3,
            "search.alphas.betas": (0.9, 0.999),
        }
        method = fair.build()
        assert (method.relaxation.kind, method.without) == ("sigmoid", ("none",))  # type: ignore[attr-defined]
        assert (method.penalty.weight, method.selection.threshold) == (10, 0.85)  # type: ignore[attr-defined]
    for name, form in (("lambda-darts", "corr"), ("lambda-darts-sign", "signcorr")):
        aligned = METHODS[name]
        assert (aligned.build().alignment.strength, aligned.build().alignment.form) == (0.125, form)  # type: ignore[attr-defined]
        assert aligned.settings == {s: {"alignment.strength": 0.25} for s in ("nasbench201", "s1", "s2", "s3", "s4")}
    for name, kind in (("sdarts-rs", "random"), ("sdarts-adv", "adversarial")):
        smoothing = METHODS[name].build().perturbation
        assert (smoothing.kind, smoothing.initial, smoothing.final) == (kind, 0.03, 0.3)  # type: ignore[attr-defined]
    assert METHODS["darts-2nd"].build().hypergradient.distance == 0.01  # type: ignore[attr-defined]
    for name in ("darts-pt", "blank-pt"):
        assert METHODS[name].build().selection.tune_epochs == 5  # type: ignore[attr-defined]
    assert METHODS["darts"].build() == Method()


def test_curricula() -> None:
    moves = [WarmUp(0.6).trains_alphas(Progress(epoch, 5)) for epoch in range(5)]
    assert moves == [False, False, False, True, True]
    assert all(NoCurriculum().trains_alphas(Progress(epoch, 5)) for epoch in range(5))
    assert not any(Blank().trains_alphas(Progress(epoch, 5)) for epoch in range(5))
    assert Method(curriculum=WarmUp(0.8)).trains_alphas(5)
    assert not Method(curriculum=WarmUp(0.95)).trains_alphas(5)
    with pytest.raises(Refused, match="curriculum=warm-up"):
        Method(curriculum=WarmUp(0.95), selection=PerturbationRule()).check(GROUPS, 5)
    with pytest.raises(Refused, match="selection=magnitude"):
        Method(curriculum=Blank()).check(GROUPS, 5)
    with pytest.raises(Refused, match="between 0 and 1"):
        WarmUp(0.0)
