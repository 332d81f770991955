"""On a GPU a step waits for nothing, and runs are searched, stopped, gone on with, retrained and evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from gpu.gpu_support import TESTED, standing, stepper
from poise.bench.stepper import random_images
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
    steps = stepper(space, method, device, "32", "auto")
    for _ in range(3):  # the first also tries layers, and may be captured
        steps.step()
    with waiting_is_an_error(device):
        steps.step()
    assert all(values.isfinite().all() for values in standing(steps).values())


@pytest.mark.parametrize("execution", ["normed", "stacked"])
@pytest.mark.parametrize("space", TESTED)
def test_steps_in_bf16(device: str, space: str, execution: str) -> None:
    steps = stepper(space, "darts", device, "bf16-mixed", execution)
    before = standing(steps)
    for _ in range(3):
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
