"""Labels in the columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from poise.data.labels import Labels
from poise.data.labels.kinds import array_of


def read_columns(
    labels: Labels, columns: Mapping[str, Sequence[Any]], where: str, names: Sequence[str] = ()
) -> tuple[Tensor, tuple[str, ...]]:
    """The labels in the columns that a kind of label has chosen, and the names that the table has for them.

    One column is read as it is, several as a row for each image, named as they are. ``names`` are those of the classes
    where they are known.
    """
    if len(columns) == 1:
        (values,) = columns.values()
        names = tuple(names) or labels.named(values)
        read = labels.read(values, where, names)
    else:
        read = labels.read(array_of(list(zip(*columns.values(), strict=True)), where), where, names)
    if not names and read.ndim == 2 and read.shape[1] == len(columns):
        names = tuple(columns)
    return read, tuple(names)
