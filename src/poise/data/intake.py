"""Images that come one by one, made to what a network takes as the images that it was trained on were."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from poise.data.crops import Middle
from poise.data.decode import Encoded, from_file, picture, quiet, resized
from poise.data.images import Images
from poise.data.pixels import Pixels
from poise.data.resize import resize
from poise.errors import Refused, shown
from poise.image_files import check_image_files, image_files


@dataclass(frozen=True)
class Given:
    """One image, or row, that was handed in.

    Args:
        name: what a person calls it: its path, or ``image 3``.
        place: of files made of it, in their folder and without an ending.
    """

    name: str
    place: PurePath


Unread: TypeAlias = tuple[Given, Callable[[], Tensor]]
"""An image, and what reads its pixels ``[channels, height, width]``, uint8 or float32, or raises `Refused`."""


@dataclass(frozen=True)
class Batch:
    """Images that were handed in one after the other, those that could be read as one tensor (rows, as a tree).

    Args:
        given: all of them.
        errors: why one could not be read, by its position.
        inputs: the others; None if there are none.
    """

    given: tuple[Given, ...]
    errors: Mapping[int, str]
    inputs: Any


@dataclass(frozen=True)
class Intake:
    """How images of any kind come to the form that a network takes.

    Args:
        channels, size: of the network's images, ``(height, width)``.
        pixels: of what it was trained on.
        streamed: whether it was trained on parts of images of any size, so that it is shown their middles.
    """

    channels: int
    size: tuple[int, int]
    pixels: Pixels
    streamed: bool = False

    def example(self) -> Tensor:
        """A batch of one black image."""
        return torch.zeros(1, self.channels, *self.size, dtype=torch.uint8)

    def batches(self, inputs: Any, size: int) -> Iterator[Batch]:
        """What ``inputs`` holds, in its order, ``size`` at a time. Raises `Refused` for what holds no images.

        ``inputs`` is a path of a file or a folder, a pattern, an image of Pillow, `Images`, an array or a tensor
        ``[n, channels, height, width]`` or ``[channels, height, width]``, or an iterable of any of these.
        """
        if size < 1:
            raise Refused(f"batch size is {size}, expected at least 1")
        given = self._given(inputs)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            while some := tuple(islice(given, size)):
                with quiet():
                    read = list(pool.map(_read, some))
                yield _batch(tuple(given for given, _ in some), read)

    def _given(self, inputs: Any) -> Iterator[Unread]:
        numbers = count()
        if isinstance(inputs, str | Path):
            check_image_files([inputs])
        if isinstance(inputs, str | Path | Image.Image | np.ndarray | Tensor | Images):
            return self._several(inputs, numbers)
        if isinstance(inputs, bytes) or not isinstance(inputs, Iterable):
            raise Refused(f"expected image files, folders, arrays or images of Pillow, got {shown(inputs)}")
        return chain.from_iterable(self._several(each, numbers) for each in inputs)

    def _several(self, each: Any, numbers: Iterator[int]) -> Iterator[Unread]:
        match each:
            case str() | Path():
                self.check_files()
                return (
                    (Given(file.name, file.place), partial(self._file, file.name, file.path, file.trouble))
                    for file in image_files(each)
                )
            case Image.Image():
                self.check_files()
                given = _numbered(next(numbers))
                return iter([(given, partial(self._encoded, Encoded(given.name, each.copy)))])
            case Images():
                return self._several(each.pixels, numbers)
            case np.ndarray() | Tensor():
                return self._arrays(_tensor(each), numbers)
        raise Refused(f"expected an image file, a folder, an array or an image of Pillow, got {shown(each)}")

    def check_files(self) -> None:
        """Raise `Refused` if the network cannot take image files, whose values are 8-bit."""
        if self.pixels.unit != 255 or self.channels not in (1, 3):
            raise Refused(
                f"the network was trained on {self.channels} channels, {self.pixels}; image files hold 8-bit values in "
                "1 or 3 channels: pass arrays from Python"
            )

    def _file(self, name: str, path: Path, trouble: str) -> Tensor:
        if trouble:
            raise Refused(f"cannot read image {name}: {trouble}")
        return self._encoded(from_file(name, path))

    def _encoded(self, item: Encoded) -> Tensor:
        height, width = self.size

        def sized(image: Image.Image) -> NDArray[np.uint8]:
            if self.streamed:
                return Middle(height)(image, 0)
            if image.size == (width, height):
                return np.asarray(image)
            self._check_square(item.name, image.height, image.width)
            return np.asarray(resized(image, height))

        pixels = picture(item, self.channels, sized).reshape(height, width, self.channels)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    def _check_square(self, name: str, height: int, width: int) -> None:
        """Images are resized to squares only; others would be bent as no image of the training was."""
        own = self.size
        if own[0] != own[1]:
            raise Refused(f"{name} is {width}x{height}, the network takes {own[1]}x{own[0]} (width x height)")

    def _arrays(self, pixels: Tensor, numbers: Iterator[int]) -> Iterator[Unread]:
        """Images ``[n, channels, height, width]``, or one of them."""
        several = pixels if pixels.ndim == 4 else pixels[None]
        if several.ndim != 4 or several.shape[1] != self.channels or 0 in several.shape[2:]:
            raise Refused(
                f"an array of images has shape {list(pixels.shape)}, expected [n, {self.channels}, height, width] or "
                f"of one image [{self.channels}, height, width]"
            )
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise Refused(f"an array of images is {pixels.dtype}, expected torch.uint8 (0..255) or floats")
        if pixels.ndim == 4 and len(pixels):  # one alone may well be of one colour
            self.pixels.check(pixels)
        named = ((_numbered(number), row) for row, number in zip(several, numbers, strict=False))
        return ((given, partial(self._row, given.name, row)) for given, row in named)

    def _row(self, name: str, row: Tensor) -> Tensor:
        row = row.cpu()
        if self.streamed:
            if row.dtype != torch.uint8:
                raise Refused(f"{name} holds floats; the network was trained on parts of 8-bit images")
            flat = row[0] if self.channels == 1 else row.permute(1, 2, 0)
            image = Image.fromarray(flat.contiguous().numpy())
            return self._encoded(Encoded(name, image.copy))
        if row.is_floating_point():
            row = row.float()
            if not row.isfinite().all():
                raise Refused(f"{name} holds values that are not finite (NaN or infinity)")
        if tuple(row.shape[1:]) == self.size:
            return row
        self._check_square(name, *row.shape[1:])
        return resize(row[None], self.size[0])[0]


def _numbered(number: int) -> Given:
    return Given(f"image {number}", PurePath(f"image-{number}"))


def _read(unread: Unread) -> Tensor | str:
    try:
        return unread[1]()
    except Refused as refusal:
        return str(refusal)


def _batch(given: tuple[Given, ...], read: list[Tensor | str]) -> Batch:
    errors = {number: each for number, each in enumerate(read) if isinstance(each, str)}
    pixels = [each for each in read if isinstance(each, Tensor)]
    if len({each.dtype for each in pixels}) > 1:  # 8-bit values and floats in one iterable
        pixels = [each / 255 if each.dtype == torch.uint8 else each for each in pixels]
    return Batch(given, errors, torch.stack(pixels) if pixels else None)


def _tensor(array: NDArray[Any] | Tensor) -> Tensor:
    if isinstance(array, Tensor):
        return array.detach()
    try:
        with warnings.catch_warnings():  # of an array that cannot be written to: nobody will
            warnings.simplefilter("ignore")
            return torch.from_numpy(np.ascontiguousarray(array))
    except TypeError:
        raise Refused(f"an array of images is {array.dtype}, expected uint8 (0..255) or floats") from None
