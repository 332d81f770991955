"""Labels as class ids: read from what a source has, and checked before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from poise.data.labels.labels import Seen
from poise.errors import Refused


@dataclass(frozen=True)
class ClassIds:
    """One class for each image: int64 ``[n]``, each an index into the names."""

    columns: tuple[str, ...] = ()

    what: ClassVar[str] = "class ids"
    dense: ClassVar[bool] = False

    def read(self, values: Any, where: str, names: Sequence[str] = ()) -> Tensor:
        return as_labels(values, where)

    def names(self, labels: Tensor, given: Sequence[str], where: str) -> tuple[str, ...]:
        """Raises `Refused` if two classes have the same name, or ids without names are larger than any could be."""
        names = tuple(given) or numbered(labels, where)
        check_names(names, where)
        return names

    def check_training(self, labels: Tensor, names: Sequence[str], where: str) -> None:
        """Two classes or more, none with a single image."""
        check_training(labels, names, where)

    def check_test(self, labels: Tensor, training: Tensor, names: Sequence[str], where: str) -> None:
        """Every class of the test split occurs in the training split."""
        check_test(labels, training, names, where)

    def strata(self, labels: Tensor) -> Tensor:
        return labels

    def seen(self, labels: Tensor, names: Sequence[str]) -> Seen:
        """``count``: images of each class."""
        counts = torch.bincount(labels, minlength=len(names))
        return Seen(tuple(names), {"count": tuple(map(float, counts.tolist()))})

    def note(self, labels: Tensor, names: Sequence[str], where: str) -> str | None:
        return empty_classes(labels, names, where)


def as_labels(values: Any, where: str) -> Tensor:
    """``values`` (a sequence, array or tensor of n integers) as int64 ``[n]``. Raises `Refused`, naming ``where``."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise Refused(f"labels of {where} differ in length, expected one label per image") from None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise Refused(f"labels of {where} have shape {list(array.shape)}, expected one label per image")
    if array.size == 0:
        return torch.empty(0, dtype=torch.int64)
    if array.dtype.kind not in "iu":
        shown = next((value for value in array.tolist() if type(value) is not int), array[0])
        raise Refused(f"labels of {where} are not integers (found {shown!r}), expected class ids from 0")
    return torch.from_numpy(array.astype(np.int64))


def numbered(labels: Tensor, where: str) -> tuple[str, ...]:
    """Class names for labels that came without: their ids, ``("0", "1", ...)``."""
    top = int(labels.max()) if len(labels) else -1
    if top >= max(len(labels), 1):
        raise Refused(f"label {top} of {where} is not a class id from 0: there are {len(labels)} images in all")
    return tuple(str(index) for index in range(top + 1))


def check_names(classes: Sequence[str], where: str) -> None:
    """Raises `Refused` if two classes have the same name."""
    twice = next((name for name in classes if classes.count(name) > 1), None)
    if twice is not None:
        raise Refused(f"{where} has two classes named {twice!r}, expected every name once")


def check_training(labels: Tensor, classes: Sequence[str], where: str) -> None:
    """Raises `Refused` unless ``labels: [n]`` can train and validate: two classes or more, none with a single image."""
    if not len(labels):
        raise Refused(f"{where} holds no images")
    _check_range(labels, classes, where)
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    present = [name for name, count in zip(classes, counts, strict=True) if count]
    if len(present) < 2:
        raise Refused(f"{where} has one class only ({present[0]!r}), expected two or more")
    single = next((name for name, count in zip(classes, counts, strict=True) if count == 1), None)
    if single is not None:
        raise Refused(f"class {single!r} of {where} has a single image, expected two or more to train and validate on")


def check_test(labels: Tensor, training: Tensor, classes: Sequence[str], where: str) -> None:
    """Raises `Refused` unless every class of the test split occurs in the training split."""
    if not len(labels):
        raise Refused(f"{where} holds no images")
    extra = sorted(set(labels.tolist()) - set(training.tolist()))
    if extra:
        shown = repr(classes[extra[0]]) if 0 <= extra[0] < len(classes) else str(extra[0])
        raise Refused(f"{where} has images of class {shown}, which the training split does not have")


def empty_classes(labels: Tensor, classes: Sequence[str], where: str) -> str | None:
    """What to say of classes without a single image among ``labels: [n]``; None where every class has one."""
    counts = torch.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts.tolist(), strict=True) if not count]
    if not empty:
        return None
    outputs = f"the network has {len(classes)} outputs all the same"
    low, high = int(labels.min()), int(labels.max())
    if low == len(empty) and list(classes) == [str(index) for index in range(len(classes))]:
        none = "class 0 has" if low == 1 else f"classes 0 to {low - 1} have"
        return (
            f"the labels of {where} run from {low} to {high}, but class ids count from 0, so {none} no image, and "
            f"{outputs}: subtract {low} from the labels, unless you mean it"
        )
    named = ", ".join(repr(name) for name in empty[:5]) + (", ..." if len(empty) > 5 else "")
    return (
        f"{len(empty)} of the {len(classes)} classes of {where} have no image to train on ({named}), and {outputs}: "
        "leave them out and number the labels without gaps, unless you mean it"
    )


def _check_range(labels: Tensor, classes: Sequence[str], where: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise Refused(f"label {low} of {where} is negative, expected class ids 0..{len(classes) - 1}")
    if high >= len(classes):
        raise Refused(
            f"label {high} of {where} is out of range, expected 0..{len(classes) - 1} ({len(classes)} classes)"
        )
