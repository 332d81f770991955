"""Encoded images to one uint8 tensor: one colour mode for all, one size for all, many at a time.

All grey (modes 1, L, LA, 16-bit) makes greyscale, anything else makes RGB. 16-bit values are scaled to 8 bits, palettes
and CMYK converted, transparency blended on white. An image file may come from anyone: only the formats below are
opened, and its size is checked in its header, before any of it is decoded.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from poise.errors import Refused

Item = TypeVar("Item")
CHUNK = 128  # images handed to a thread at once
GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})
MAX_PIXELS = 2**26  # of one image, 8192 x 8192: more is refused as a decompression bomb
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # plain decoders; for EPS Pillow starts Ghostscript
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError),  # Pillow's readers raise all of these
    *(AttributeError, ArithmeticError, MemoryError, RuntimeError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


@dataclass(frozen=True)
class Encoded:
    """An image not yet decoded: the name that an error shows, how to open it (reading its header only), and how many
    bytes its file has; 0 if it has none."""

    name: str
    open: Callable[[], Image.Image]
    length: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class Form:
    """What all images of a source agree in: taken from its training split, where ``example`` is the first image."""

    channels: int
    height: int
    width: int
    floating: bool
    example: str


class Skipped(NamedTuple):
    """An image that was left out, and why."""

    name: str
    reason: str


def from_file(name: str, path: Path) -> Encoded:
    """An image in a file of its own."""
    return Encoded(name, lambda: Image.open(path, formats=FORMATS), lambda: path.stat().st_size)


def from_bytes(name: str, content: object) -> Encoded:
    """An image held as the bytes of its file."""

    def opened() -> Image.Image:
        if not isinstance(content, bytes):
            raise Refused(f"{name} has no image bytes (found {type(content).__name__})")
        return Image.open(io.BytesIO(content), formats=FORMATS)

    return Encoded(name, opened, lambda: len(content) if isinstance(content, bytes) else 0)


def form_of(items: Iterable[Encoded], where: str) -> Form:
    """The form of images, from their headers: grey if all are grey (stops at the first that is not).

    An unreadable image has no say here; it is refused when it is decoded. Raises `Refused` if none can be read.
    """
    form: Form | None = None
    with quiet():
        for item in items:
            try:
                with item.open() as image:
                    mode, (width, height) = image.mode, image.size
                    check_pixels(image)
            except UNREADABLE:
                continue
            form = form or Form(1, height, width, floating=False, example=item.name)
            if mode not in GREY:
                return replace(form, channels=3)
    if form is None:
        raise Refused(f"{where} has no image that can be read")
    return form


def decode(rows: list[int], fetch: Callable[[list[int]], list[Encoded]], form: Form, size: int | None) -> Tensor:
    """The images of ``rows`` as uint8 ``[n, channels, height, width]``.

    Without ``size`` all must have the height and width of ``form``; with it they are `resized`.
    Raises `Refused` naming the first image that cannot be read, or two images of different sizes.
    """
    height, width = (size, size) if size else (form.height, form.width)
    try:
        out = np.empty((len(rows), height, width, form.channels), np.uint8)
    except (MemoryError, ValueError):
        raise Refused(
            f"{len(rows)} images of {width}x{height} do not fit in memory; pass a smaller data.size"
        ) from None

    def fill(start: int, items: list[Encoded]) -> None:
        for position, item in enumerate(items, start):
            out[position] = _decoded(item, form, size).reshape(height, width, form.channels)

    in_chunks(rows, fetch, fill)
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


def readable(count: int, fetch: Callable[[list[int]], list[Encoded]]) -> tuple[Tensor, list[Skipped]]:
    """The rows of the images that can be read (int64), and those that cannot. Decodes every image."""
    found: dict[int, Skipped] = {}

    def look(start: int, items: list[Encoded]) -> None:
        for position, item in enumerate(items, start):
            try:
                with item.open() as image:
                    check_pixels(image)
                    _in_mode(image, "RGB").load()
            except UNREADABLE as error:
                found[position] = Skipped(item.name, str(error) or type(error).__name__)

    in_chunks(list(range(count)), fetch, look)
    good = torch.tensor([row for row in range(count) if row not in found], dtype=torch.int64)
    return good, [found[row] for row in sorted(found)]


def in_chunks(
    rows: list[int], fetch: Callable[[list[int]], list[Item]], work: Callable[[int, list[Item]], None]
) -> None:
    """Call ``work(start, images of rows[start : start + CHUNK])`` for all rows, in threads."""
    with quiet(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            chunks = range(0, len(rows), CHUNK)
            jobs = [pool.submit(work, start, fetch(rows[start : start + CHUNK])) for start in chunks]
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings: what they are about is either harmless here or refused."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"it has {width}x{height} pixels, more than the limit of {MAX_PIXELS}")


def _decoded(item: Encoded, form: Form, size: int | None) -> NDArray[np.uint8]:
    def sized(image: Image.Image) -> NDArray[np.uint8]:
        if not size and image.size != (form.width, form.height):
            raise mixed_sizes(form, item.name, image.height, image.width)
        return np.asarray(resized(image, size) if size else image)

    return picture(item, form.channels, sized)


def picture(item: Encoded, channels: int, use: Callable[[Image.Image], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """``use(image)``, of the image in the mode for so many channels. Raises `Refused`, naming it, if it cannot be
    read."""
    try:
        with item.open() as image:
            check_pixels(image)
            return use(_in_mode(image, "L" if channels == 1 else "RGB"))
    except Refused:
        raise
    except UNREADABLE as error:
        raise Refused(f"cannot read image {item.name}: {str(error) or type(error).__name__}") from None


def mixed_sizes(form: Form, name: str, height: int, width: int) -> Refused:
    """The refusal of images whose sizes differ."""
    return Refused(
        f"images differ in size: {form.example} is {form.width}x{form.height}, {name} is {width}x{height} "
        "(width x height); pass data.size to resize them, or for a training data.streaming=true"
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


def resized(image: Image.Image, size: int) -> Image.Image:
    """To ``size`` x ``size``: averaged over blocks where that is a whole factor, else bilinear with antialiasing."""
    width, height = image.size
    if width % size == 0 and height % size == 0:
        return image.reduce((width // size, height // size))
    return image.resize((size, size), Image.Resampling.BILINEAR)
