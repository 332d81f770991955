"""One photograph of any size to a square: a random part of it for training, the middle of it for evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from poise.data.jitter import jittered
from poise.errors import Refused

LEAST_AREA = 0.08
NARROWEST, WIDEST = 3 / 4, 4 / 3
"""Width over height of a random crop."""
TRIES = 10
INNER = 224 / 256
"""The share of the shorter side that the central crop shows."""


class Box(NamedTuple):
    """A part of an image, in pixels from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


def random_box(width: int, height: int, least_area: float, generator: torch.Generator) -> Box:
    """A random part: its share of the area is uniform in ``least_area..1``, the logarithm of its width over its height
    uniform between those of 3/4 and 4/3, and its place uniform among those inside the image.

    A part that does not fit is drawn again; after `TRIES` such draws the largest central part of an allowed shape is
    taken.

    Source: Szegedy et al., Going Deeper with Convolutions (arXiv:1409.4842), section 6, in the form that the released
    code of DARTS and PC-DARTS uses (torchvision's ``RandomResizedCrop``).
    """
    for _ in range(TRIES):
        area, shape = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        pixels = width * height * (least_area + (1 - least_area) * area)
        ratio = NARROWEST * (WIDEST / NARROWEST) ** shape
        across, down = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < across <= width and 0 < down <= height:
            left = int(torch.randint(width - across + 1, (), generator=generator))
            top = int(torch.randint(height - down + 1, (), generator=generator))
            return Box(left, top, left + across, top + down)
    across = min(width, max(round(height * WIDEST), 1))
    down = min(height, max(round(width / NARROWEST), 1))
    left, top = (width - across) // 2, (height - down) // 2
    return Box(left, top, left + across, top + down)


def central_box(width: int, height: int) -> Box:
    """The square in the middle whose side is `INNER` of the shorter side.

    That is what is left of an image whose shorter side is resized to 256 when 224×224 pixels are cut from its middle.
    """
    side = INNER * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return Box(left, top, left + side, top + side)


@dataclass(frozen=True)
class Middle:
    """The middle of an image, as ``size`` × ``size`` pixels: what evaluation sees."""

    size: int

    def __call__(self, image: Image.Image, seed: int) -> NDArray[np.uint8]:
        """``[size, size, channels]``; chance has no part in it."""
        box = central_box(*image.size)
        return _pixels(image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box))


@dataclass(frozen=True)
class RandomPart:
    """A random part of an image, as ``size`` × ``size`` pixels, perhaps mirrored and in another light: what training
    sees.

    Args:
        size: of the result's side.
        least_area: see `random_box`.
        flip: mirror left-right with probability 1/2.
        jitter: see `jittered`; 0: none.
    """

    size: int
    least_area: float = LEAST_AREA
    flip: bool = True
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.least_area <= 1:
            raise Refused(
                f"the least area of a crop is {self.least_area}, expected a share of the image: above 0, to 1"
            )
        if not 0 <= self.jitter <= 1:
            raise Refused(f"the colour jitter is {self.jitter}, expected a strength from 0 to 1")

    def __call__(self, image: Image.Image, seed: int) -> NDArray[np.uint8]:
        """``[size, size, channels]``; the seed decides everything."""
        generator = torch.Generator().manual_seed(seed)
        box = random_box(*image.size, self.least_area, generator)
        mirror = self.flip and bool(torch.rand((), generator=generator) < 0.5)
        part = image.crop((int(box.left), int(box.top), int(box.right), int(box.bottom)))
        part = part.resize((self.size, self.size), Image.Resampling.BILINEAR)
        if mirror:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return _pixels(jittered(part, self.jitter, generator) if self.jitter else part)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
