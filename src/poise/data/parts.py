"""The images of one split: labels at hand, pixels when asked for. Either encoded images or rows of a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self

import torch
from torch import Tensor

from poise.data.decode import CHUNK, Encoded, Form, Item, Skipped, decode, form_of, mixed_sizes, readable
from poise.data.resize import labels_of, resize
from poise.errors import Refused


class Labelled(Protocol):
    """What one split holds: labels, and what goes with them."""

    @property
    def labels(self) -> Any:
        """As a kind of label reads them, ``[n, ...]``. Masks in files may be shown in a smaller size."""
        ...

    def select(self, rows: Tensor) -> Self:
        """These rows alone."""
        ...


class Part(Labelled, Protocol):
    """The images of one split."""

    def form(self) -> Form:
        """What the images look like, as cheaply as it can be told."""
        ...

    def pixels(self, rows: Tensor, form: Form, size: int | None) -> Tensor:
        """The images of ``rows: [k]`` in the given form, ``[k, channels, height, width]``, or resized to ``size``."""
        ...

    def targets(self, rows: Tensor, form: Form, size: int | None) -> Tensor:
        """The labels of ``rows: [k]``, as they go with what `pixels` gives."""
        ...

    def readable(self) -> tuple[Part, list[Skipped]]:
        """The images that can be read, and what had to be left out. Decodes every image."""
        ...


@dataclass(frozen=True, eq=False)
class EncodedPart:
    """Images decoded on demand: ``fetch`` gives those of some rows. ``where`` names the split in errors."""

    where: str
    labels: Tensor
    fetch: Callable[[list[int]], list[Encoded]]

    def form(self) -> Form:
        return form_of(self.all(), self.where)

    def pixels(self, rows: Tensor, form: Form, size: int | None) -> Tensor:
        if form.floating or form.channels not in (1, 3):
            raise Refused(f"{self.where} holds 8-bit images, the training split {_described(form)}")
        return decode(rows.tolist(), self.fetch, form, size)

    def targets(self, rows: Tensor, form: Form, size: int | None) -> Tensor:
        return labels_of(self.labels, rows, size)

    def select(self, rows: Tensor) -> EncodedPart:
        return EncodedPart(self.where, self.labels[rows], Chosen(self.fetch, rows.tolist()))

    def readable(self) -> tuple[EncodedPart, list[Skipped]]:
        rows, bad = readable(len(self.labels), self.fetch)
        return (self.select(rows), bad) if bad else (self, [])

    def all(self) -> Iterator[Encoded]:
        """The images one after the other, not decoded."""
        for start in range(0, len(self.labels), CHUNK):
            yield from self.fetch(list(range(start, min(start + CHUNK, len(self.labels)))))


@dataclass(frozen=True, eq=False)
class Chosen(Generic[Item]):
    """Some rows of what ``fetch`` gives; a value that can be sent to another process if that one is."""

    fetch: Callable[[list[int]], list[Item]]
    rows: list[int]

    def __call__(self, wanted: list[int]) -> list[Item]:
        return self.fetch([self.rows[row] for row in wanted])


@dataclass(frozen=True, eq=False)
class TensorPart:
    """Images that are numbers already: ``read(rows: [k])`` gives ``[k, channels, height, width]``, uint8 or float32."""

    where: str
    labels: Tensor
    read: Callable[[Tensor], Tensor]

    def form(self) -> Form:
        first = self.read(torch.zeros(1, dtype=torch.int64))
        channels, height, width = first.shape[1:]
        return Form(channels, height, width, first.is_floating_point(), f"image 0 of {self.where}")

    def pixels(self, rows: Tensor, form: Form, size: int | None) -> Tensor:
        pixels = self.read(rows)
        channels, height, width = pixels.shape[1:]
        if channels != form.channels or pixels.is_floating_point() != form.floating:
            own = Form(channels, height, width, pixels.is_floating_point(), self.where)
            raise Refused(f"{self.where} has {_described(own)}, the training split {_described(form)}")
        if size is None and (height, width) != (form.height, form.width):
            raise mixed_sizes(form, self.where, height, width)
        if form.floating and not pixels.isfinite().all():
            raise Refused(f"{self.where} holds values that are not finite (NaN or infinity)")
        return resize(pixels, size) if size else pixels

    def targets(self, rows: Tensor, form: Form, size: int | None) -> Tensor:
        return labels_of(self.labels, rows, size)

    def select(self, rows: Tensor) -> TensorPart:
        read = self.read
        return TensorPart(self.where, self.labels[rows], lambda wanted: read(rows[wanted]))

    def readable(self) -> tuple[TensorPart, list[Skipped]]:
        return self, []  # numbers need no decoding


def _described(form: Form) -> str:
    kind = "floats" if form.floating else "8-bit values"
    return f"{kind} in {form.channels} channel{'s' if form.channels > 1 else ''}"
