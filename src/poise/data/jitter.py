"""Colour jitter of one image: brightness, contrast, saturation and hue, each by chance, in an order by chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance

HUE = 0.5
"""How strongly the hue varies, as a share of the other three: published are 0.4 and 0.2."""


def brightened(image: Image.Image, factor: float) -> Image.Image:
    """Every value times ``factor``, cut off at 255."""
    return ImageEnhance.Brightness(image).enhance(factor)


def contrasted(image: Image.Image, factor: float) -> Image.Image:
    """Every value's distance from the image's mean grey times ``factor``."""
    return ImageEnhance.Contrast(image).enhance(factor)


def saturated(image: Image.Image, factor: float) -> Image.Image:
    """Every pixel's distance from its own grey times ``factor``."""
    return image if image.mode == "L" else ImageEnhance.Color(image).enhance(factor)


def hued(image: Image.Image, turn: float) -> Image.Image:
    """The hue turned by ``turn`` of the whole circle, in steps of 1/256."""
    if image.mode == "L":
        return image
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int16) + round(turn * 256)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")


def jittered(image: Image.Image, strength: float, generator: torch.Generator) -> Image.Image:
    """An image (mode ``RGB`` or ``L``) in other light: factors of brightness, contrast and saturation uniform in
    ``1 ± strength``, the hue turned by a uniform ``± strength·HUE`` of the circle.

    Source: the released code of DARTS and PC-DARTS (`train_imagenet.py`): 0.4, 0.4, 0.4 and, for the hue, 0.2.
    """
    factors = (1 + strength * _centred(3, generator)).clamp(min=0).tolist()
    turn = float(strength * HUE * _centred(1, generator))
    changes: list[tuple[Callable[[Image.Image, float], Image.Image], float]] = [
        *zip((brightened, contrasted, saturated), factors, strict=True),
        (hued, turn),
    ]
    for index in torch.randperm(len(changes), generator=generator).tolist():
        change, amount = changes[index]
        image = change(image, amount)
    return image


def _centred(count: int, generator: torch.Generator) -> torch.Tensor:
    return 2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1
