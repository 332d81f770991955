"""What every diagnostic keeps to."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass

import pytest
import torch
from diagnostics_support import smooth_searcher

from poise.diagnostics.diagnostic import DIAGNOSTICS, Subject
from poise.report.catalogue import summary


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_it_measures_and_moves_nothing(name: str) -> None:
    cls = DIAGNOSTICS[name]
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert cls.kind == name
    assert summary(DIAGNOSTICS, name)
    settings = {field.name: 3 for field in fields(cls) if field.name == "points"}  # a small grid
    diagnostic = cls(**settings)

    found = smooth_searcher()
    before = {key: value.clone() for key, value in found.supernet.state_dict().items()}
    alphas = {key: value.detach().clone() for key, value in found.alphas.items()}
    chance = torch.get_rng_state()
    done: list[int] = []
    subject = Subject(found, {group.name: ((0,),) for group in found.groups}, tick=done.append)
    steps = diagnostic.steps(subject)
    finding = diagnostic(subject)
    assert sum(done) <= steps, "no more work than was announced"
    assert all(isinstance(value, float) and math.isfinite(value) for value in finding.numbers.values())
    assert all(key.split("/")[0] == name for key in finding.numbers)
    again = diagnostic(Subject(found, subject.kept))
    assert again == finding
    if cls.per_epoch:
        assert diagnostic(Subject(found)).numbers.keys() == finding.numbers.keys(), "without a choice as well"

    assert all(torch.equal(value, before[key]) for key, value in found.supernet.state_dict().items())
    assert all(torch.equal(value, alphas[key]) for key, value in found.alphas.items())
    assert all(value.grad is None for value in [*found.alphas.values(), *found.supernet.parameters()])
    assert found.supernet.training
    assert torch.equal(torch.get_rng_state(), chance)
