"""What the numbers in an image mean to a network: their unit, their range, the order of the channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from poise.data.images import Images
from poise.errors import Refused

ORDERS = {"grey": "grey", "RGB": "RGB", "data": "in the order of the training data"}
FAR = 50.0
"""Values that span so many times more or less than the training data's are in another unit: 0..255 for 0..1."""


@dataclass(frozen=True)
class Pixels:
    """The images that a network was trained on. It sees ``(value / unit - mean) / std``, channel by channel; what is
    exported takes ``value / unit`` and normalises it itself.

    Args:
        order: of the channels: ``grey``, ``RGB``, or ``data``, as in the arrays that it was trained on.
        unit: 255 for 8-bit values, 1 for floats, which are taken as they are.
        low, high: the least and the greatest ``value / unit`` of the training data; 0 and 1 for 8-bit values.
        mean, std: of ``value / unit``, one number per channel.
    """

    order: str
    unit: float
    low: float
    high: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def of(images: Images, files: bool) -> Pixels:
        """Those of images in memory; ``files``: decoded from image files, so that three channels are RGB."""
        mean, std = images.statistics()
        unit = 255.0 if images.pixels.dtype == torch.uint8 else 1.0
        return Pixels(_order(images.channels, files), unit, *_range(images.pixels), mean, std)

    @staticmethod
    def read(facts: Mapping[str, Any]) -> Pixels:
        """From `facts`; of older ones, which hold mean and std alone, 8-bit values. Raises `KeyError`, `TypeError` or
        `ValueError` for what is none."""
        mean, std = (tuple(float(value) for value in facts[name]) for name in ("mean", "std"))
        low, high = (float(value) for value in facts.get("range", (0, 1)))
        order = facts.get("channel_order", _order(len(mean), files=True))
        unit = float(facts.get("unit", 255))
        if order not in ORDERS or not all(map(math.isfinite, (low, high, *mean, *std))) or min(unit, *std) <= 0:
            raise ValueError("these are no images' values")
        return Pixels(order, unit, low, high, mean, std)

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "channel_order": self.order,
            "unit": self.unit,
            "range": [self.low, self.high],
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def __str__(self) -> str:
        values = (
            "values 0..1 (8-bit values divided by 255)"
            if self.unit == 255
            else f"floats as in the training data, {self.low:.6g}..{self.high:.6g}"
        )
        return f"{values}, channels {ORDERS[self.order]}"

    def check(self, pixels: Tensor) -> None:
        """Raise `Refused` for images in another unit than the training data's."""
        low, high = _range(pixels)
        spans = high - low, self.high - self.low
        if min(spans) > 0 and not 1 / FAR < spans[0] / spans[1] < FAR:
            raise Refused(
                f"the network was trained on {self}; the images hold {low:.6g}..{high:.6g}: give them in the same unit"
            )


def _order(channels: int, files: bool) -> str:
    return "grey" if channels == 1 else "RGB" if files and channels == 3 else "data"


def _range(pixels: Tensor) -> tuple[float, float]:
    if pixels.dtype == torch.uint8:
        return 0.0, 1.0
    low, high = pixels.aminmax()
    return float(low), float(high)
