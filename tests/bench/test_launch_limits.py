"""What a pass and a step may launch at most, where a GPU would run them. A regression turns red.

Passes are counted at the published size, without data (torch's meta device). Steps, engine and optimizers included, are
counted on a CPU, on a small net of the same depth: launches do not depend on sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from full import FULL
from poise.bench.launches import Launches
from poise.bench.stepper import STACKED, Stepper, like_a_gpu, random_images
from poise.methods import METHODS
from poise.spaces import SPACES

CELLS = {"darts": 8, "nasbench201": 5}
PER_PASS = {"darts": 3_500, "nasbench201": 1_500}
PER_STEP = {"darts": 8_000, "nasbench201": 3_500}


def stepper(name: str, channels: int, batch_size: int, size: int, device: str) -> Stepper:
    space: Any = SPACES[name](channels=channels, cells=CELLS[name])  # type: ignore[call-arg]
    place = replace(like_a_gpu(), device=torch.device(device))
    return Stepper(space, METHODS["darts"].build(), random_images(batch_size, size), place, STACKED)


def kernels(work: Callable[[], None]) -> int:
    work()  # the first call also tries layers
    with Launches() as found:
        work()
    return found.kernels


@pytest.mark.parametrize("name", CELLS)
def test_a_pass_of_the_published_size(name: str) -> None:
    """Of a sample, those of DARTS are not compared with those of a small size."""
    published, small = stepper(name, 16, 64, 32, "meta"), stepper(name, 2, 2, 8, "meta")
    for what in ("weights_pass", "alphas_pass"):
        found = kernels(getattr(published, what))
        assert found <= PER_PASS[name]
        if FULL or name == "nasbench201":
            assert found == kernels(getattr(small, what)), "launches do not depend on sizes"


@pytest.mark.parametrize("name", CELLS)
def test_a_first_order_step(name: str) -> None:
    step = stepper(name, 2, 2, 8, "cpu").step
    step()
    assert kernels(step) <= PER_STEP[name]
