"""A source put together from a training part and perhaps a test part: all kinds of sources end up as this."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from poise.data.decode import MAX_PIXELS, Form, Skipped
from poise.data.images import Images
from poise.data.labels import Labels
from poise.data.parts import EncodedPart, Part
from poise.data.splits import stratified_holdout
from poise.data.streaming import Streamed
from poise.errors import Refused, unknown

HOLDOUT = 0.2  # of the images, where a source has no test split of its own
HOLDOUT_SEED = 0  # fixed: the test split of a source is the same in every run


@final
class SplitSource:
    """A `Source` from parts. ``test`` makes the test part; it is called when that split is first asked for.

    ``names`` are those that the data has for its labels, ``()`` if it has none.

    ``skipped`` lists the images that `without_bad_images` left out, of the splits opened so far.
    """

    def __init__(
        self, name: str, labels: Labels, names: Sequence[str], train: Part, test: Callable[[], Part] | None = None
    ) -> None:
        self.names = labels.names(train.labels, names, name)
        labels.check_training(train.labels, self.names, f"the training split of {name}")
        self.skipped: list[Skipped] = []
        self.name = name
        self.reading = labels
        self._train = train
        self._open_test = test

    @property
    def files(self) -> bool:
        """Whether its images are decoded from files, so that three channels are RGB; else they are arrays."""
        return isinstance(self._train, EncodedPart)

    def has(self, split: str) -> bool:
        return split == "train" or (split == "test" and self._open_test is not None)

    def labels(self, split: str) -> Tensor:
        return self._part(split).labels

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
        train, skipped = self._train.readable()
        opened = self._open_test

        def test() -> Part:
            assert opened is not None
            part, bad = opened().readable()
            skipped.extend(bad)
            return part

        source = SplitSource(self.name, self.reading, self.names, train, None if opened is None else test)
        source.skipped = skipped
        return source

    @cached_property
    def _form(self) -> Form:
        return self._train.form()

    @cached_property
    def _test(self) -> Part:
        if self._open_test is None:
            raise Refused(f"{self.name} has no test split; pass a pair (train, test)")
        try:
            part = self._open_test()
        except OSError as error:
            raise Refused(f"cannot read the test split of {self.name}: {error.strerror or error}") from None
        self.reading.check_test(part.labels, self._train.labels, self.names, f"the test split of {self.name}")
        return part

    def _part(self, split: str) -> Part:
        if split not in ("train", "test"):
            raise unknown("split", split, ("train", "test"))
        return self._train if split == "train" else self._test


def _check_memory(count: int, form: Form, size: int | None, masks: bool) -> None:
    """Raises `Refused` if ``count`` images, with ``masks`` or without, are larger than the memory of the machine."""
    height, width = (size, size) if size else (form.height, form.width)
    needed = count * height * width * (form.channels * (4 if form.floating else 1) + (8 if masks else 0))
    if hasattr(os, "sysconf") and needed > (memory := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
        raise Refused(
            f"{count} images of {width}x{height} need {needed / 2**30:.0f} GiB, this machine has "
            f"{memory / 2**30:.0f} GiB; pass a smaller data.size, or for a training data.streaming=true"
        )


def held_out(name: str, labels: Labels, names: Sequence[str], part: Part) -> SplitSource:
    """A source whose test split is ``HOLDOUT`` of ``part``, stratified; two images of every class stay to train on."""
    names = labels.names(part.labels, names, name)
    labels.check_training(part.labels, names, name)
    kept, held = stratified_holdout(labels.strata(part.labels), HOLDOUT, HOLDOUT_SEED, keep=2)
    if not len(held):
        raise Refused(f"{name} has {len(part.labels)} images, too few to hold some out as a test split")
    return SplitSource(name, labels, names, part.select(kept), lambda: part.select(held))
