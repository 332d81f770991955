"""Images and their masks, both read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from poise.data.decode import UNREADABLE, Encoded, Form, Skipped, check_pixels, in_chunks, mixed_sizes, readable
from poise.data.labels.kinds import advice
from poise.data.labels.masks import MOST_CLASSES, Masks
from poise.data.parts import Chosen, EncodedPart
from poise.data.resize import resize_masks
from poise.errors import Refused

MODES = ("L", "P", "1", "I;16", "I")
"""Of image files whose values are class ids as they are."""
SHOWN = 2**26
"""Pixels of all masks of a split together, in the form that splits and checks look at."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask not yet read: the name that an error shows, and how to read it, ``[height, width]``."""

    name: str
    read: Callable[[], NDArray[Any]]


def encoded_masks(fetch: Callable[[list[int]], list[Encoded]]) -> Callable[[list[int]], list[Mask]]:
    """Masks in image files of one channel, whose values (of a palette, the indices) are class ids."""
    return lambda rows: [Mask(item.name, partial(_decoded, item)) for item in fetch(rows)]


def _decoded(item: Encoded) -> NDArray[Any]:
    try:
        with item.open() as image:
            check_pixels(image)
            return mask_values(image, item.name)
    except Refused:
        raise
    except UNREADABLE as error:
        raise Refused(f"cannot read mask {item.name}: {str(error) or type(error).__name__}") from None


def mask_values(mask: Any, name: str) -> NDArray[Any]:
    """The class ids ``[height, width]`` of an image or of numbers. Raises `Refused`, naming it, if it holds none."""
    if isinstance(mask, Image.Image) and mask.mode not in MODES:
        raise Refused(f"mask {name} is of mode {mask.mode}, expected one channel of class ids (mode L or P)")
    values = np.asarray(mask)
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    if values.ndim != 2 or values.dtype.kind not in "biu" or not values.size:
        meant = advice(values[None]) if values.ndim < 2 else ""
        raise Refused(f"mask {name} is {values.dtype} {list(values.shape)}, expected class ids [height, width]{meant}")
    return values.astype(np.int64)


@dataclass(frozen=True, eq=False)
class MaskedPart:
    """Satisfies `poise.data.parts.Part`.

    ``labels`` shows all masks in the size of the first, or in a smaller one where they are many: enough to split by and
    to check. `targets` gives them as they are.

    Args:
        images: whose own labels do not matter.
        masks: gives those of some rows.
        reading: the kind of label.
        given: the names of the classes, if they are known.
        known: `labels`, if they have been read.
    """

    images: EncodedPart
    masks: Callable[[list[int]], list[Mask]]
    reading: Masks
    given: tuple[str, ...] = ()
    known: Tensor | None = None

    @staticmethod
    def of(
        where: str, count: int, images: Callable[[list[int]], list[Encoded]],
        masks: Callable[[list[int]], list[Mask]], reading: Masks, given: tuple[str, ...],
    ) -> MaskedPart:  # fmt: skip
        """So many images, with their masks."""
        unlabelled = EncodedPart(where, torch.zeros(count, dtype=torch.int64), images)
        return MaskedPart(unlabelled, masks, reading, given)

    @cached_property
    def labels(self) -> Tensor:
        return self._all[0] if self.known is None else self.known

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes; for those that have none, their numbers."""
        return self.given or self.reading.numbered(self._all[1], self.images.where)

    def form(self) -> Form:
        return self.images.form()

    def pixels(self, rows: Tensor, form: Form, size: int | None) -> Tensor:
        return self.images.pixels(rows, form, size)

    def targets(self, rows: Tensor, form: Form, size: int | None) -> Tensor:
        height, width = (size, size) if size else (form.height, form.width)
        found = torch.empty(len(rows), height, width, dtype=torch.int64)

        def fill(start: int, masks: list[Mask]) -> None:
            for position, mask in enumerate(masks, start):
                values = self._read(mask)
                if not size and values.shape[1:] != (height, width):
                    raise mixed_sizes(form, mask.name, *values.shape[1:])
                found[position] = resize_masks(values, (height, width))[0]

        in_chunks(rows.tolist(), self.masks, fill)
        return found

    def select(self, rows: Tensor) -> MaskedPart:
        chosen = Chosen(self.masks, rows.tolist())
        return MaskedPart(self.images.select(rows), chosen, self.reading, self.given, self.labels[rows])

    def readable(self) -> tuple[MaskedPart, list[Skipped]]:
        rows, bad = readable(len(self.images.labels), self.images.fetch)
        return (self.select(rows), bad) if bad else (self, [])

    @cached_property
    def _all(self) -> tuple[Tensor, int]:
        """`labels`, and the greatest class of all masks as they are."""
        count = len(self.images.labels)
        if not count:
            return torch.empty(0, 1, 1, dtype=torch.int64), -1
        height, width = self.masks([0])[0].read().shape
        scale = min(1.0, (SHOWN / (count * height * width)) ** 0.5)
        side = max(1, int(height * scale)), max(1, int(width * scale))
        found, tops = torch.empty(count, *side, dtype=torch.int64), torch.empty(count, dtype=torch.int64)

        def look(start: int, masks: list[Mask]) -> None:
            images = self.images.fetch(list(range(start, start + len(masks))))
            for position, (mask, image) in enumerate(zip(masks, images, strict=True), start):
                values = self._read(mask)
                _check_size(values, mask, image)
                valid = self.reading.valid(values)
                tops[position] = int(valid.max()) if valid.numel() else -1
                found[position] = resize_masks(values, side)[0]

        in_chunks(list(range(count)), self.masks, look)
        return found, int(tops.max())

    def _read(self, mask: Mask) -> Tensor:
        """``[1, height, width]``."""
        values = torch.from_numpy(mask.read())[None]
        self.reading.check_range(values, len(self.given) or MOST_CLASSES, f"mask {mask.name}")
        return values


def _check_size(values: Tensor, mask: Mask, image: Encoded) -> None:
    """Raises `Refused` if a mask is not as large as its image; an image that cannot be read is refused later."""
    try:
        with image.open() as opened:
            width, height = opened.size
    except UNREADABLE:
        return
    if values.shape[1:] != (height, width):
        raise Refused(
            f"mask {mask.name} is {values.shape[2]}x{values.shape[1]}, its image {image.name} {width}x{height} "
            "(width x height), expected the same size"
        )
