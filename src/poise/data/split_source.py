"""A source of images: all kinds of sources of images end up as this."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from poise.data.decode import MAX_PIXELS, Form, Skipped
from poise.data.images import Images
from poise.data.masked import MaskedPart
from poise.data.parted import PartedSource
from poise.data.parts import EncodedPart, Part
from poise.data.streaming import Streamed
from poise.errors import Refused


@final
class SplitSource(PartedSource[Part]):
    """A `Source` of images. ``skipped`` lists those that `without_bad_images` left out, of the splits opened so far."""

    unit = "images"
    skipped: Sequence[Skipped] = ()

    @property
    def files(self) -> bool:
        """Whether its images are decoded from files, so that three channels are RGB; else they are arrays."""
        return isinstance(self._train, EncodedPart | MaskedPart)

    def load(self, split: str, indices: Tensor | None = None, size: int | None = None) -> Images:
        part = self._part(split)
        if size is not None and size < 1:
            raise Refused(f"size is {size}, expected a side in pixels: at least 1")
        if size is not None and size * size > MAX_PIXELS:
            raise Refused(f"size is {size}, expected a side in pixels: at most {int(MAX_PIXELS**0.5)}")
        count = len(part.labels)
        rows = torch.arange(count) if indices is None else indices.cpu()
        if rows.dtype != torch.int64 or rows.ndim != 1:
            raise Refused(f"indices are {rows.dtype} {list(rows.shape)}, expected torch.int64 [n]")
        if not len(rows):
            raise Refused(f"no indices of images of the {split} split of {self.name} were given")
        if int(rows.min()) < 0 or int(rows.max()) >= count:
            raise Refused(f"indices span {int(rows.min())}..{int(rows.max())}, expected 0..{count - 1}")
        _check_memory(len(rows), self._form, size, self.reading.dense)
        return Images(part.pixels(rows, self._form, size), part.targets(rows, self._form, size), self.names)

    def streamed(self, split: str) -> Streamed:
        """The images of a split, to be read from where they are, each when it is needed.

        Raises `Refused` if there is no such split, or it holds numbers, no encoded images.
        """
        if self.reading.dense:
            raise Refused(f"{self.name} has masks, which cannot be streamed; set data.streaming=false")
        part = self._part(split)
        if not isinstance(part, EncodedPart):
            raise Refused(f"{self.name} holds no image files to stream; set data.streaming=false")
        return Streamed(part, self.names, self._form.channels)

    def without_bad_images(self) -> SplitSource:
        """The same source, less the images that cannot be read; ``skipped`` lists them, with the reason.

        Every image of a split is decoded once more, to find them, when that split is opened.
        Raises `Refused` if what is left cannot be trained on.
        """
        skipped: list[Skipped] = []

        def readable(part: Part) -> Part:
            good, bad = part.readable()
            skipped.extend(bad)
            return good

        opened = self._open_test
        test = None if opened is None else lambda: readable(opened())
        source = SplitSource(self.name, self.reading, self.names, readable(self._train), test)
        source.skipped = skipped
        return source

    @cached_property
    def _form(self) -> Form:
        return self._train.form()


def _check_memory(count: int, form: Form, size: int | None, masks: bool) -> None:
    """Raises `Refused` if ``count`` images, with ``masks`` or without, are larger than the memory of the machine."""
    height, width = (size, size) if size else (form.height, form.width)
    needed = count * height * width * (form.channels * (4 if form.floating else 1) + (8 if masks else 0))
    if hasattr(os, "sysconf") and needed > (memory := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
        raise Refused(
            f"{count} images of {width}x{height} need {needed / 2**30:.0f} GiB, this machine has "
            f"{memory / 2**30:.0f} GiB; pass a smaller data.size, or for a training data.streaming=true"
        )


held_out = SplitSource.held_out
