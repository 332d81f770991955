"""Values that come as labels: as one array, and which task such labels are for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from poise.errors import Refused, shown, unknown

LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class")
"""What a column of labels is usually called."""

ADVICE = {
    "classification": "one class for each example is for --task classification",
    "multilabel": "several classes for each example are for --task multilabel",
    "regression": "numbers are for --task regression",
    "segmentation": "a class for each pixel is for --task segmentation",
}


def array_of(values: Any, where: str) -> NDArray[Any]:
    """``values`` (a sequence, array or tensor) as one array. Raises `Refused` if they differ in length."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if isinstance(values, list | tuple):
        values = [each.detach().cpu().numpy() if isinstance(each, Tensor) else each for each in values]
    try:
        array = np.asarray(values)
    except ValueError:
        raise Refused(
            f"labels of {where} differ in length, expected one label per example; {ADVICE['multilabel']}"
        ) from None
    if not array.ndim:
        raise Refused(f"labels of {where} are {shown(values, 40)}, expected one label per example")
    return array


def advice(array: NDArray[Any]) -> str:
    """The end of a refusal: which task such labels are for, where that is plain."""
    kind, task = array.dtype.kind, ""
    if array.ndim > 2:
        task = "segmentation" if kind in "iub" else ""
    elif array.ndim == 2 and array.shape[1] != 1 and kind in "iubf":
        task = "multilabel" if ((array == 0) | (array == 1)).all() else "regression"
    elif kind in "iubUSf":
        task = "regression" if kind == "f" else "classification"
    return f"; {ADVICE[task]}" if task else ""


def texts_in(values: Iterable[Any]) -> tuple[str, ...]:
    """The different texts among ``values``, in alphabetical order."""
    return tuple(sorted({value for value in values if isinstance(value, str) and value}))


def index_of(name: Any, index: dict[str, int], where: str) -> int:
    """The number of a class by its name. Raises `Refused` if there is no such class."""
    if not isinstance(name, str):
        raise Refused(f"labels of {where} are names of classes, but one is {shown(name, 40)}")
    if not name:
        raise Refused(f"an example of {where} has no label (an empty text), expected the name of a class")
    if name not in index:
        raise unknown(f"class of {where}", name, index)
    return index[name]


def check_names(names: Sequence[str], where: str) -> None:
    """Raises `Refused` if two classes have the same name."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refused(f"{where} has two classes named {twice!r}, expected every name once")


def check_count(labels: Tensor, where: str) -> None:
    """Raises `Refused` if there are none."""
    if not len(labels):
        raise Refused(f"{where} holds no examples")


def asked_for(columns: Sequence[str], table: Iterable[str], where: str) -> tuple[str, ...]:
    """``columns``, all of which the table must have. Raises `Refused` if it does not."""
    there = tuple(table)
    for column in columns:
        if column not in there:
            raise unknown(f"column of {where}", column, there)
    return tuple(columns)


def one_column(columns: Sequence[str], names: Sequence[str], table: Iterable[str], where: str) -> tuple[str, ...]:
    """The column that is asked for, or the first of ``names`` that the table has. Raises `Refused` if there is none, or
    several are asked for."""
    there = tuple(table)
    if len(columns) > 1:
        raise Refused(f"one column of labels was expected for {where}, got {', '.join(columns)}")
    found = asked_for(columns, there, where) or tuple(name for name in names if name in there)
    if not found:
        raise Refused(f"{where} has no label column, expected one of {', '.join(names)}, found {', '.join(there)}")
    return found[:1]


def listed(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
