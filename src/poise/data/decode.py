"""Encoded images to one uint8 tensor: one colour mode for all, one size for all, many at a time.

All grey (modes 1, L, LA, 16-bit) makes greyscale, anything else makes RGB. 16-bit values are scaled to 8 bits, palettes
and CMYK converted, transparency blended on white.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from poise.errors import Refused

CHUNK = 128  # images handed to a thread at once
GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError),  # Pillow's readers raise all of these
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


@dataclass(frozen=True)
class Encoded:
    """An image not yet decoded: the name that an error shows, and how to open it (reading its header only)."""

    name: str
    open: Callable[[], Image.Image]


@dataclass(frozen=True)
class Form:
    """What all images of a source agree in: taken from its training split, where ``example`` is the first image."""

    channels: int
    height: int
    width: int
    floating: bool
    example: str


def from_bytes(name: str, content: object) -> Encoded:
    """An image held as the bytes of its file."""
    if not isinstance(content, bytes):
        raise Refused(f"{name} has no image bytes (found {type(content).__name__})")
    return Encoded(name, lambda: Image.open(io.BytesIO(content)))


def form_of(items: Iterable[Encoded], where: str) -> Form:
    """The form of images, from their headers: grey if all are grey (stops at the first that is not).

    An unreadable image has no say here; it is refused when it is decoded. Raises `Refused` if none can be read.
    """
    first: tuple[int, int, str] | None = None
    for item in items:
        try:
            with item.open() as image:
                mode, (width, height) = image.mode, image.size
        except UNREADABLE:
            continue
        first = first or (height, width, item.name)
        if mode not in GREY:
            return Form(3, *first[:2], floating=False, example=first[2])
    if first is None:
        raise Refused(f"{where} has no image that can be read")
    return Form(1, *first[:2], floating=False, example=first[2])


def decode(rows: list[int], fetch: Callable[[list[int]], list[Encoded]], form: Form, size: int | None) -> Tensor:
    """The images of ``rows`` as uint8 ``[n, channels, height, width]``.

    Without ``size`` all must have the height and width of ``form``; with it they are resized to ``size`` x ``size``:
    averaged over blocks where that is a whole factor, else bilinear with antialiasing.
    Raises `Refused` naming the first image that cannot be read, or two images of different sizes.
    """
    height, width = (size, size) if size else (form.height, form.width)
    out = np.empty((len(rows), height, width, form.channels), np.uint8)

    def fill(start: int, items: list[Encoded]) -> None:
        for position, item in enumerate(items, start):
            out[position] = _decoded(item, form, size).reshape(height, width, form.channels)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            chunks = range(0, len(rows), CHUNK)
            jobs = [pool.submit(fill, start, fetch(rows[start : start + CHUNK])) for start in chunks]
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


def _decoded(item: Encoded, form: Form, size: int | None) -> NDArray[np.uint8]:
    try:
        with item.open() as image:
            if not size and image.size != (form.width, form.height):
                raise mixed_sizes(form, item.name, image.height, image.width)
            image = _in_mode(image, "L" if form.channels == 1 else "RGB")
            return np.asarray(_resized(image, size) if size else image)
    except Refused:
        raise
    except UNREADABLE as error:
        raise Refused(f"cannot read image {item.name}: {str(error) or type(error).__name__}") from None


def mixed_sizes(form: Form, name: str, height: int, width: int) -> Refused:
    """The refusal of images whose sizes differ."""
    return Refused(
        f"images differ in size: {form.example} is {form.width}x{form.height}, {name} is {width}x{height} "
        "(width x height); pass data.size to resize them"
    )


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert(mode)
    if image.mode == "F":
        raise ValueError("32-bit float pixels, expected 8 or 16 bits")
    if "transparency" in image.info or image.mode in {"LA", "La", "PA", "RGBA", "RGBa"}:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB").convert(mode)


def _resized(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if width % size == 0 and height % size == 0:
        return image.reduce((width // size, height // size))
    return image.resize((size, size), Image.Resampling.BILINEAR)
