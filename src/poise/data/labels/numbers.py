"""Labels as numbers: one quantity or several for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from poise.data.labels import kinds
from poise.data.labels.labels import Labels, Seen
from poise.errors import Refused, shown

BINS = 10
"""Into which the first quantity is divided for splits."""


@dataclass(frozen=True)
class Numbers(Labels):
    """Quantities of each image, in their own units: float32 ``[n, quantities]``, finite."""

    columns: tuple[str, ...] = ()

    what: ClassVar[str] = "numbers"

    def choose(self, table: Mapping[str, str], where: str) -> tuple[str, ...]:
        """All columns of numbers, if none is asked for; or one of lists."""
        if self.columns:
            return kinds.asked_for(self.columns, table, where)
        numbers = [name for name, kind in table.items() if kind in ("whole", "number")]
        lists = [name for name in kinds.LABEL_COLUMNS if table.get(name) == "list"]
        if not numbers and not lists:
            raise Refused(f"{where} has no column of numbers, found {', '.join(table)}")
        return tuple(numbers or lists[:1])

    def read(self, values: Any, where: str, names: Sequence[str] = ()) -> Tensor:
        array = kinds.array_of(values, where)
        if array.dtype.kind not in "biuf":
            found = array.ravel().tolist()
            other = next((value for value in found if not isinstance(value, int | float)), found[:1])
            texts = f"; {kinds.ADVICE['classification']}" if isinstance(other, str) else ""
            raise Refused(f"labels of {where} are not numbers (found {shown(other, 40)}){texts}")
        if array.ndim not in (1, 2):
            expected = "expected one number per example, or a row of them"
            raise Refused(f"labels of {where} have shape {list(array.shape)}, {expected}{kinds.advice(array)}")
        with np.errstate(over="ignore"):
            numbers = torch.from_numpy(array.astype(np.float32))
        _check_finite(numbers, where)
        return numbers if numbers.ndim == 2 else numbers[:, None]

    def names(self, labels: Tensor, given: Sequence[str], where: str) -> tuple[str, ...]:
        """``y``, or ``y0``, ``y1``, ..., if the data has no names. Raises `Refused` if two quantities have the same
        one, or there is not one for each."""
        count = labels.shape[1]
        names = tuple(given) or (("y",) if count == 1 else tuple(f"y{index}" for index in range(count)))
        if len(names) != count:
            raise Refused(
                f"{where} has {len(names)} names ({', '.join(names)[:60]}) for {count} "
                f"number{'s' if count > 1 else ''} per example; {kinds.ADVICE['classification']}"
            )
        kinds.check_names(names, where)
        return names

    def check_training(self, labels: Tensor, names: Sequence[str], where: str) -> None:
        """At least two images, and no quantity that is the same in all of them."""
        kinds.check_count(labels, where)
        if not labels.shape[1]:
            raise Refused(f"{where} has no numbers")
        _check_finite(labels, where)
        same = (labels == labels[0]).all(0).nonzero().flatten().tolist()
        if same:
            value = float(labels[0, same[0]])
            raise Refused(f"{names[same[0]]!r} of {where} is {value:g} for every example, expected numbers that differ")

    def check_test(self, labels: Tensor, training: Tensor, names: Sequence[str], where: str) -> None:
        """The same quantities as in the training split."""
        kinds.check_count(labels, where)
        if labels.shape[1] != training.shape[1]:
            raise Refused(f"{where} has {labels.shape[1]} numbers per example, the training split {training.shape[1]}")
        _check_finite(labels, where)

    def strata(self, labels: Tensor) -> Tensor:
        """The bin of the first quantity, of `BINS` that hold equally many images (fewer where bins would be small)."""
        bins = max(1, min(BINS, len(labels) // BINS))
        ranks = labels[:, 0].argsort(stable=True).argsort()
        return ranks * bins // max(len(labels), 1)

    def seen(self, labels: Tensor, names: Sequence[str]) -> Seen:
        """``mean`` and ``std`` (of the population) of each quantity, in its own unit."""
        variance, mean = torch.var_mean(labels.double(), 0, correction=0)
        return Seen(tuple(names), {"mean": tuple(mean.tolist()), "std": tuple(variance.sqrt().tolist())})


def _check_finite(labels: Tensor, where: str) -> None:
    wrong = (~labels.isfinite()).nonzero()
    if len(wrong):
        row = int(wrong[0, 0])
        value = labels[tuple(wrong[0].tolist())].item()
        raise Refused(f"label {row} of {where} is {value}, expected numbers within ±3.4e38")
