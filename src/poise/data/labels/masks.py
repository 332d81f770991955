"""Labels as masks: a class for every pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from poise.data.labels import kinds
from poise.data.labels.labels import Labels, Seen
from poise.errors import Refused

MASK_COLUMNS = ("mask", "masks", "annotation", "segmentation", "label", "labels")
MOST_CLASSES = 256
"""Of masks: they are stored in 8 bits."""


@dataclass(frozen=True)
class Masks(Labels):
    """A class for every pixel: int64 ``[n, height, width]``, each an index into the names, or ``ignore_index`` where
    there is no label.

    Raises `Refused` unless ``ignore_index`` is an integer below 256.
    """

    ignore_index: int = 255
    columns: tuple[str, ...] = ()

    what: ClassVar[str] = "masks"
    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if type(self.ignore_index) is not int or not -MOST_CLASSES < self.ignore_index < MOST_CLASSES:
            raise Refused(f"ignore_index is {self.ignore_index!r}, expected an integer from -255 to 255")

    @property
    def outside(self) -> int:
        return self.ignore_index

    def choose(self, table: Mapping[str, str], where: str) -> tuple[str, ...]:
        return kinds.one_column(self.columns, MASK_COLUMNS, table, where)

    def read(self, values: Any, where: str, names: Sequence[str] = ()) -> Tensor:
        array = kinds.array_of(values, where)
        if array.ndim == 4 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 3 or array.dtype.kind not in "biu":
            expected = "expected whole numbers [n, height, width]"
            raise Refused(f"labels of {where} are {array.dtype} {list(array.shape)}, {expected}{kinds.advice(array)}")
        return torch.from_numpy(array.astype(np.int64))

    def names(self, labels: Tensor, given: Sequence[str], where: str) -> tuple[str, ...]:
        """Raises `Refused` if two classes have the same name, or numbers without names are larger than any could be."""
        names = tuple(given) or self.numbered(
            int(self.valid(labels).max()) if self.valid(labels).numel() else -1, where
        )
        kinds.check_names(names, where)
        if len(names) > MOST_CLASSES:
            raise Refused(f"{where} has {len(names)} classes, expected at most {MOST_CLASSES}")
        return names

    def numbered(self, top: int, where: str) -> tuple[str, ...]:
        """Names for classes that came without, of which ``top`` is the last: their numbers."""
        if top >= MOST_CLASSES:
            raise Refused(
                f"a pixel of {where} is of class {top}, expected 0..{MOST_CLASSES - 1}, or {self.ignore_index} for none"
            )
        return tuple(str(index) for index in range(top + 1))

    def valid(self, labels: Tensor) -> Tensor:
        """The pixels that have a label, ``[pixels]``."""
        return labels[labels != self.ignore_index]

    def check_range(self, labels: Tensor, classes: int, where: str) -> None:
        """Raises `Refused` if a pixel is of no class."""
        valid = self.valid(labels)
        low, high = (int(valid.min()), int(valid.max())) if valid.numel() else (0, 0)
        if low < 0 or high >= classes:
            raise Refused(
                f"a pixel of {where} is of class {low if low < 0 else high}, expected 0..{classes - 1}, or "
                f"{self.ignore_index} for none"
            )

    def check_training(self, labels: Tensor, names: Sequence[str], where: str) -> None:
        """Pixels of two classes or more."""
        kinds.check_count(labels, where)
        self.check_range(labels, len(names), where)
        present = torch.unique(self.valid(labels)).tolist()
        if len(present) < 2:
            found = f"one class only ({names[present[0]]!r})" if present else "no pixel with a label"
            raise Refused(f"the masks of {where} have {found}, expected two classes or more")

    def check_test(self, labels: Tensor, training: Tensor, names: Sequence[str], where: str) -> None:
        """Every class of the test split occurs in the training split."""
        kinds.check_count(labels, where)
        self.check_range(labels, len(names), where)
        extra = sorted(
            set(torch.unique(self.valid(labels)).tolist()) - set(torch.unique(self.valid(training)).tolist())
        )
        if extra:
            raise Refused(f"{where} has pixels of class {names[extra[0]]!r}, which the training split does not have")

    def strata(self, labels: Tensor) -> Tensor:
        """The most frequent class of each mask."""
        return self._counts(labels, MOST_CLASSES).argmax(1)

    def seen(self, labels: Tensor, names: Sequence[str]) -> Seen:
        """``count``: pixels of each class."""
        counts = self._counts(labels, len(names)).sum(0)
        return Seen(tuple(names), {"count": tuple(map(float, counts.tolist()))})

    def note(self, labels: Tensor, names: Sequence[str], where: str) -> str | None:
        counts = self._counts(labels, len(names)).sum(0).tolist()
        empty = [name for name, count in zip(names, counts, strict=True) if not count]
        if not empty:
            return None
        return f"{len(empty)} of the {len(names)} classes of {where} have no pixel to train on ({kinds.listed(empty)})"

    def _counts(self, labels: Tensor, classes: int) -> Tensor:
        """int64 ``[n, classes]``: pixels of each class in each mask."""
        valid = [self.valid(mask) for mask in labels]
        counts = [torch.bincount(pixels, minlength=classes) for pixels in valid]
        return torch.stack(counts) if counts else torch.zeros(0, classes, dtype=torch.int64)
