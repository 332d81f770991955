"""Labels as class ids: an image is of one class. They are checked before anything is trained on them."""

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


@dataclass(frozen=True)
class ClassIds(Labels):
    """One class for each image: int64 ``[n]``, each an index into the names."""

    columns: tuple[str, ...] = ()

    what: ClassVar[str] = "class ids"

    def choose(self, table: Mapping[str, str], where: str) -> tuple[str, ...]:
        return kinds.one_column(self.columns, kinds.LABEL_COLUMNS, table, where)

    def named(self, values: Sequence[Any]) -> tuple[str, ...]:
        return kinds.texts_in(values)

    def read(self, values: Any, where: str, names: Sequence[str] = ()) -> Tensor:
        array = kinds.array_of(values, where)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            shape = list(array.shape)
            raise Refused(f"labels of {where} have shape {shape}, expected one label per example{kinds.advice(array)}")
        if array.size == 0:
            return torch.empty(0, dtype=torch.int64)
        if names and any(isinstance(value, str) for value in array):
            index = {name: number for number, name in enumerate(names)}
            return torch.tensor([kinds.index_of(value, index, where) for value in array.tolist()], dtype=torch.int64)
        if array.dtype.kind not in "iu":
            other = next((value for value in array.tolist() if type(value) is not int), array[0])
            meant = kinds.advice(array) if array.dtype.kind == "f" else ""
            raise Refused(f"labels of {where} are not integers (found {other!r}), expected class ids from 0{meant}")
        return torch.from_numpy(array.astype(np.int64))

    def names(self, labels: Tensor, given: Sequence[str], where: str) -> tuple[str, ...]:
        """Those given, or the ids. Raises `Refused` if two classes have the same name, or ids are larger than any could
        be."""
        if not given:
            top = int(labels.max()) if len(labels) else -1
            if top >= max(len(labels), 1):
                raise Refused(f"label {top} of {where} is not a class id from 0: there are {len(labels)} labels in all")
            return tuple(str(index) for index in range(top + 1))
        kinds.check_names(given, where)
        return tuple(given)

    def check_training(self, labels: Tensor, names: Sequence[str], where: str) -> None:
        """Two classes or more, none with a single image."""
        kinds.check_count(labels, where)
        _check_range(labels, names, where)
        counts = torch.bincount(labels, minlength=len(names)).tolist()
        present = [name for name, count in zip(names, counts, strict=True) if count]
        if len(present) < 2:
            raise Refused(f"{where} has one class only ({present[0]!r}), expected two or more")
        single = next((name for name, count in zip(names, counts, strict=True) if count == 1), None)
        if single is not None:
            raise Refused(
                f"class {single!r} of {where} has a single example, expected two or more to train and validate on"
            )

    def check_test(self, labels: Tensor, training: Tensor, names: Sequence[str], where: str) -> None:
        """Every class of the test split occurs in the training split."""
        kinds.check_count(labels, where)
        extra = sorted(set(labels.tolist()) - set(training.tolist()))
        if extra:
            shown = repr(names[extra[0]]) if 0 <= extra[0] < len(names) else str(extra[0])
            raise Refused(f"{where} has examples of class {shown}, which the training split does not have")

    def strata(self, labels: Tensor) -> Tensor:
        return labels

    def seen(self, labels: Tensor, names: Sequence[str]) -> Seen:
        """``count``: images of each class."""
        counts = torch.bincount(labels, minlength=len(names))
        return Seen(tuple(names), {"count": tuple(map(float, counts.tolist()))})

    def note(self, labels: Tensor, names: Sequence[str], where: str) -> str | None:
        """What to say of classes without a single example; None where every class has one."""
        counts = torch.bincount(labels, minlength=len(names))
        empty = [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
        if not empty:
            return None
        outputs = f"the network has {len(names)} outputs all the same"
        low, high = int(labels.min()), int(labels.max())
        if low == len(empty) and list(names) == [str(index) for index in range(len(names))]:
            none = "class 0 has" if low == 1 else f"classes 0 to {low - 1} have"
            return (
                f"the labels of {where} run from {low} to {high}, but class ids count from 0, so {none} no example, "
                f"and {outputs}: subtract {low} from the labels, unless you mean it"
            )
        return (
            f"{len(empty)} of the {len(names)} classes of {where} have no example to train on ({kinds.listed(empty)}), "
            f"and {outputs}: leave them out and number the labels without gaps, unless you mean it"
        )


def _check_range(labels: Tensor, classes: Sequence[str], where: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise Refused(f"label {low} of {where} is negative, expected class ids 0..{len(classes) - 1}")
    if high >= len(classes):
        raise Refused(
            f"label {high} of {where} is out of range, expected 0..{len(classes) - 1} ({len(classes)} classes)"
        )
