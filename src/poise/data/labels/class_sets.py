"""Labels as sets: an image is of any number of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poise.data.labels import kinds
from poise.data.labels.labels import Labels, Seen
from poise.errors import Refused, shown

SET_COLUMNS = (*kinds.LABEL_COLUMNS, "classes", "tags")
RARE = 5
"""Patterns of fewer images are split as if they were one."""
SETS = (list, tuple, set, frozenset, str)
"""What a set of classes can be written as."""
LARGEST_ID = 100_000
"""Classes are numbered without gaps, so a larger id is none."""


@dataclass(frozen=True)
class ClassSets(Labels):
    """A set of classes for each image, which may be empty: float32 ``[n, classes]``, 1 for what is in it, else 0.

    Read from one number, 0 or 1, for every class; from lists of ids or names; or from texts such as ``cat|dog``.
    """

    columns: tuple[str, ...] = ()

    what: ClassVar[str] = "sets of classes"

    def choose(self, table: Mapping[str, str], where: str) -> tuple[str, ...]:
        """One column of lists or texts, or all columns of whole numbers: one for each class."""
        if self.columns:
            return kinds.asked_for(self.columns, table, where)
        lists = [name for name in SET_COLUMNS if table.get(name) in ("list", "text")]
        flags = [name for name, kind in table.items() if kind == "whole"]
        if not lists and (not flags or flags == [name for name in kinds.LABEL_COLUMNS if name in table]):
            raise Refused(
                f"{where} has no sets of classes, expected a column of lists or of texts such as cat|dog "
                f"({', '.join(SET_COLUMNS)}), or a column of 0 and 1 for every class; found {', '.join(table)}"
            )
        return tuple(lists[:1] or flags)

    def named(self, values: Sequence[Any]) -> tuple[str, ...]:
        return kinds.texts_in(member for value in values if not isinstance(value, Tensor) for member in _members(value))

    def read(self, values: Any, where: str, names: Sequence[str] = ()) -> Tensor:
        rows = _rows(values)
        if rows is None or _flags(rows, len(names)):
            return _matrix(kinds.array_of(values, where), where)
        wrong = [row for row in rows if not isinstance(row, list)]
        if wrong:
            raise Refused(f"labels of {where} are not sets of classes (found {shown(wrong[0], 40)}){_one_each(wrong)}")
        named = bool(names) and any(isinstance(member, str) for row in rows for member in row)
        index = {name: number for number, name in enumerate(names)}
        numbers = [[kinds.index_of(each, index, where) if named else _id(each, where) for each in row] for row in rows]
        classes = max((max(row) + 1 for row in numbers if row), default=0)
        if names and classes > len(names):
            raise Refused(f"label {classes - 1} of {where} is out of range, expected 0..{len(names) - 1}")
        found = torch.zeros(len(rows), len(names) or classes)
        at = [(row, member) for row, members in enumerate(numbers) for member in members]
        found[[row for row, _ in at], [member for _, member in at]] = 1
        return found

    def names(self, labels: Tensor, given: Sequence[str], where: str) -> tuple[str, ...]:
        """Raises `Refused` if two classes have the same name, or there is not one for each."""
        names = tuple(given) or tuple(map(str, range(labels.shape[1])))
        if len(names) != labels.shape[1]:
            raise Refused(f"{where} has {labels.shape[1]} classes and {len(names)} names of classes")
        kinds.check_names(names, where)
        return names

    def check_training(self, labels: Tensor, names: Sequence[str], where: str) -> None:
        """Not every image has the same set."""
        kinds.check_count(labels, where)
        if not labels.shape[1]:
            raise Refused(f"{where} has no class in any set")
        if (labels == labels[0]).all():
            raise Refused(f"all examples of {where} have the same set of classes, expected two sets or more")

    def check_test(self, labels: Tensor, training: Tensor, names: Sequence[str], where: str) -> None:
        """Every class of the test split occurs in the training split."""
        kinds.check_count(labels, where)
        if labels.shape[1] != training.shape[1]:
            raise Refused(f"{where} has {labels.shape[1]} classes, the training split {training.shape[1]}")
        extra = ((labels.sum(0) > 0) & (training.sum(0) == 0)).nonzero().flatten().tolist()
        if extra:
            raise Refused(f"{where} has examples of class {names[extra[0]]!r}, which the training split does not have")

    def strata(self, labels: Tensor) -> Tensor:
        """The pattern of classes; those of fewer than `RARE` images together."""
        _, pattern, counts = torch.unique(labels, dim=0, return_inverse=True, return_counts=True)
        return torch.where(counts[pattern] < RARE, len(counts), pattern)

    def seen(self, labels: Tensor, names: Sequence[str]) -> Seen:
        """``count`` and ``rest``: images with each class, and without."""
        counts = labels.sum(0, dtype=torch.float64)
        return Seen(tuple(names), {"count": tuple(counts.tolist()), "rest": tuple((len(labels) - counts).tolist())})

    def note(self, labels: Tensor, names: Sequence[str], where: str) -> str | None:
        counts = labels.sum(0).tolist()
        empty = [name for name, count in zip(names, counts, strict=True) if not count]
        full = [name for name, count in zip(names, counts, strict=True) if count == len(labels)]
        said = [f"no example of {where} has class {kinds.listed(empty)}"] if empty else []
        said += [f"every example of {where} has class {kinds.listed(full)}"] if full else []
        return f"{'; '.join(said)}: a network learns nothing of such a class" if said else None


def _members(value: Any) -> list[Any]:
    """What is in a set, as it is written."""
    if isinstance(value, str):
        return [name.strip() for name in value.split("|") if name.strip()]
    return list(value) if isinstance(value, SETS) else []


def _rows(values: Any) -> list[Any] | None:
    """Sets as lists; None where there is a row of numbers for each image."""
    if not isinstance(values, list | tuple) or (values and isinstance(values[0], Tensor | np.ndarray)):
        return None
    return [_members(value) if isinstance(value, SETS) else value for value in values]


def _flags(rows: Sequence[Any], classes: int) -> bool:
    """Whether lists are 0 and 1 for each class. Of ids, all sets would then hold the same two classes."""
    if not rows or not all(isinstance(row, list) for row in rows) or len({len(row) for row in rows}) != 1:
        return False
    return (
        len(rows[0]) > 1
        and len(rows[0]) == (classes or len(rows[0]))
        and all(isinstance(each, int | float) and each in (0, 1) for row in rows for each in row)
    )


def _matrix(array: NDArray[Any], where: str) -> Tensor:
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        expected = "expected 0 or 1 for every class [n, classes], or a list of classes per example"
        raise Refused(f"labels of {where} are {array.dtype} {list(array.shape)}, {expected}{kinds.advice(array)}")
    other = array[(array != 0) & (array != 1)]
    if len(other):
        raise Refused(
            f"labels of {where} hold {other[0]!s}, expected 0 or 1 for every class; {kinds.ADVICE['regression']}"
        )
    return torch.from_numpy(array.astype(np.float32))


def _one_each(rows: Sequence[Any]) -> str:
    meant = "classification" if all(type(row) is int for row in rows) else "regression"
    advice = f"; {kinds.ADVICE[meant]}" if isinstance(rows[0], int | float) else ""
    return f", expected a list of classes per example{advice}"


def _id(member: Any, where: str) -> int:
    if isinstance(member, bool) or not isinstance(member, int | np.integer) or not 0 <= member <= LARGEST_ID:
        meant = f"; {kinds.ADVICE['regression']}" if isinstance(member, float) else ""
        raise Refused(f"labels of {where} hold {shown(member, 40)}, expected class ids from 0 to {LARGEST_ID:,}{meant}")
    return int(member)
