"""On a GPU a step waits for nothing, and runs are searched, stopped, gone on with, retrained and evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import poise
from gpu.gpu_support import TESTED, assert_near, standing, stepper
from poise.bench.stepper import NORMED, POISE, STACKED, Variant, random_images
from poise.engine.checkpointer import RunControl
from poise.methods import METHODS

EVERY_METHOD = [name for name in METHODS if METHODS[name].build().trains_alphas(50)]
SETTINGS: dict[str, Any] = {
    "space.channels": 2,
    "space.cells": 3,
    "search.epochs": 2,
    "search.batch_size": 8,
    "train.channels": 2,
    "train.cells": 3,
    "train.epochs": 2,
    "train.batch_size": 8,
}


@contextmanager
def waiting_is_an_error(device: str) -> Iterator[None]:
    """Inside, whatever waits for a GPU raises an error."""
    if device != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("space", TESTED)
@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_step_waits_for_nothing(device: str, space: str, method: str) -> None:
    steps = stepper(space, method, device, "32", POISE)
    for _ in range(4):  # layers are tried, and the third is captured
        steps.step()
    with waiting_is_an_error(device):
        steps.step()
    assert all(values.isfinite().all() for values in standing(steps).values())


def after_five_steps(space: str, method: str, device: str, variant: Variant) -> dict[str, Tensor]:
    steps = stepper(space, method, device, "32", variant)
    for _ in range(5):
        steps.step()
    if variant.capture == "auto" and device == "cuda":
        assert steps.replays, "no step was a replay"
    return standing(steps)


@pytest.mark.parametrize("space", TESTED)
@pytest.mark.parametrize("method", EVERY_METHOD)
def test_captured_steps_are_the_same_to_the_last_bit(device: str, space: str, method: str) -> None:
    expected, again = (after_five_steps(space, method, device, replace(POISE, capture="off")) for _ in range(2))
    captured = after_five_steps(space, method, device, POISE)
    if all(torch.equal(expected[name], again[name]) for name in expected):
        assert [name for name in expected if not torch.equal(captured[name], expected[name])] == []
    else:  # some kernels of this GPU add in any order
        assert_near(captured, expected, 1e-3)


@pytest.mark.parametrize("variant", [NORMED, STACKED, POISE], ids=lambda variant: variant.name)
@pytest.mark.parametrize("space", TESTED)
def test_steps_in_bf16(device: str, space: str, variant: Variant) -> None:
    steps = stepper(space, "darts", device, "bf16-mixed", variant)
    before = standing(steps)
    for _ in range(5):
        steps.step()
    for name, values in standing(steps).items():
        assert values.isfinite().all()
        if name.startswith("alphas"):
            assert not torch.equal(values, before[name])


def test_a_stopped_search_goes_on_and_is_retrained(device: str, tmp_path: Path) -> None:
    data, steps = (random_images(64, 8), random_images(16, 8)), iter(range(100))
    control = RunControl(asked=lambda: next(steps) == 5)  # in the middle of the second epoch
    given: dict[str, Any] = {
        "space": "darts",
        "method": "darts",
        "preset": "demo",
        "settings": SETTINGS,
        "device": device,
    }
    with pytest.raises(poise.Stopped):
        poise.search(data, **given, out=tmp_path / "run", control=control, listen=poise.ignore)
    found = poise.search(data, **given, out=tmp_path / "run", resume=True, listen=poise.ignore)
    assert len(found.history) == 2
    network = poise.train(found, data, out=tmp_path / "net", listen=poise.ignore)
    assert len(network.history) == 2
    assert 0 <= poise.evaluate(tmp_path / "net", data)["accuracy"] <= 1
