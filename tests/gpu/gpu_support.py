"""What the tests on a GPU share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from poise.bench.stepper import Stepper, Variant, random_images
from poise.engine.device import Place
from poise.methods import METHODS
from poise.spaces import SPACES

TESTED = ("darts", "nasbench201")
LEAST = 1e-4
"""Numbers below this may be zeros but for rounding, such as means of what was normalised before."""


def small(name: str) -> Any:
    """A small form of a space, with every kind of cell."""
    return SPACES[name](channels=4, cells=3 if name != "nasbench201" else 1)  # type: ignore[call-arg]


def stepper(space: str, method: str, device: str, precision: str, variant: Variant) -> Stepper:
    """A method in the middle of a search of a small space."""
    images = random_images(4, 8)
    return Stepper(small(space), METHODS[method].build(), images, Place.open(device, precision), variant)


def standing(stepper: Stepper) -> dict[str, Tensor]:
    """Everything that a step goes by, on the CPU, by name: without running statistics, which an execution need not
    update where a candidate has no weight."""
    found: dict[str, Tensor] = {}
    _flatten({**stepper.searcher.state(), "supernet": stepper.searcher.weights}, "", found)
    return found


def _flatten(tree: Mapping[str, Any], before: str, found: dict[str, Tensor]) -> None:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{before}{name}.", found)
        elif isinstance(value, Tensor):
            found[before + name] = value.detach().cpu().clone()


def assert_near(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Every tensor within ``tolerance`` times the largest of its expected numbers, or `LEAST`."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = max(float(values.abs().max()), LEAST) if values.numel() else LEAST
        distance = float((found[name].double() - values.double()).abs().max()) / scale if values.numel() else 0.0
        assert distance <= tolerance, f"{name} is off by {distance:.1e} of its largest number"
        assert torch.isfinite(found[name]).all()
