"""Samples that come to be predicted of, made to what a network takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from poise.data.as_tensors import as_tensors
from poise.data.intake import Batch, Given
from poise.data.samples import check_forms, rows, shape_of
from poise.errors import Refused
from poise.spaces.sample_shape import SampleShape
from poise.supernet.trees import Tree, alike, count_of, in_order_of, tensors


@dataclass(frozen=True)
class SampleIntake:
    """How samples come to the form that a network takes: ``shape`` says which."""

    shape: SampleShape

    def example(self) -> Tree:
        """A batch of one sample of zeros."""
        return self.shape.zeros(1)

    def batches(self, inputs: Any, size: int) -> Iterator[Batch]:
        """``inputs``, a tree of arrays ``[n, ...]`` as the network was trained on, ``size`` rows at a time. One with a
        value that is not finite is an error. Raises `Refused` for anything else."""
        if size < 1:
            raise Refused(f"batch size is {size}, expected at least 1")
        found = in_order_of(self.shape.inputs, as_tensors(inputs, "the inputs"))
        check_forms(found, "the inputs")
        given = shape_of(found, self.shape.outputs)
        if not alike(given.inputs, self.shape.inputs) or given != self.shape:
            raise Refused(f"the network takes {self.shape.described}, got rows of {given.described}")
        return self._batches(found, size)

    def _batches(self, inputs: Tree, size: int) -> Iterator[Batch]:
        count = count_of(inputs)
        for indices in torch.split(torch.arange(count), size):
            some = rows(inputs, indices)
            good = _finite(some)
            given = tuple(Given(f"row {index}", PurePath(f"row-{index}")) for index in indices.tolist())
            errors = {
                number: f"{given[number].name} holds a value that is not finite (NaN or infinity)"
                for number in (~good).nonzero().flatten().tolist()
            }
            yield Batch(given, errors, rows(some, good.nonzero().flatten()) if good.any() else None)


def _finite(inputs: Tree) -> Tensor:
    """Which rows are finite: ``[n]``."""
    found = [values.reshape(len(values), -1).isfinite().all(dim=1) for values in tensors(inputs) if len(values)]
    return torch.stack(found).all(dim=0)
