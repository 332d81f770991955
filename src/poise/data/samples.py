"""Labelled samples of any form, in memory: rows of numbers, sounds, volumes, tokens, or several inputs together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poise.errors import Refused
from poise.spaces.sample_shape import Input, SampleShape
from poise.supernet.choice import described
from poise.supernet.trees import Tree, count_of, mapped, others, tensors


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """Inputs and their labels, row by row.

    ``inputs`` is a tree of tensors ``[n, ...]``, ``labels`` a tensor ``[n, ...]`` or a tree of them; ``names`` are
    those of the classes, or of the quantities. Raises `Refused` for trees that hold anything else, that have no rows or
    different numbers of them, and for inputs that are not finite.
    """

    inputs: Tree
    labels: Tree
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_rows(self.inputs, "the inputs")
        count, labels = len(self), tensors(self.labels)
        if not labels or any(not label.ndim or len(label) != count for label in labels):
            found = ", ".join(str(len(label)) if label.ndim else "no" for label in labels) or "no"
            raise Refused(f"{count} rows of inputs but {found} labels")

    def __len__(self) -> int:
        return count_of(self.inputs)

    def __repr__(self) -> str:
        names = ", ".join(self.names[:5]) + (", …" if len(self.names) > 5 else "")
        return f"Samples({len(self):,} rows, each {self.shape(None).described}; {len(self.names)} names: {names:.200})"

    def shape(self, outputs: int | None) -> SampleShape:
        """What a network is for that takes these and puts out so many numbers."""
        return shape_of(self.inputs, outputs)

    def subset(self, indices: Tensor) -> Samples:
        """The rows at ``indices: [k]`` (int64), in that order."""
        return Samples(rows(self.inputs, indices), rows(self.labels, indices), self.names)


def rows(tree: Tree, indices: Tensor) -> Tree:
    """The rows at ``indices: [k]`` of every tensor of a tree: new memory, contiguous."""
    return mapped(lambda values: values.index_select(0, indices.to(values.device)), tree)


def shape_of(inputs: Tree, outputs: int | None) -> SampleShape:
    """The shape of a network for inputs ``[n, ...]``. Floats come in the run's precision, so all are called float32."""
    return SampleShape(
        mapped(lambda values: Input(tuple(values.shape[1:]), _dtype_name(values.dtype)), inputs), outputs
    )


def _dtype_name(dtype: torch.dtype) -> str:
    return "float32" if dtype.is_floating_point else str(dtype).removeprefix("torch.")


def check_forms(inputs: Tree, where: str) -> None:
    """Raise `Refused` unless a tree of inputs has tensors alone, all of as many rows, one or more."""
    found, strange = tensors(inputs), others(inputs)
    if strange or not found:
        what = described(strange[0]) if strange else "nothing"
        raise Refused(f"{where} hold {what}, expected tensors, and tuples, lists or dicts of them")
    if isinstance(inputs, dict) and not all(isinstance(name, str) for name in inputs):
        raise Refused(f"{where} are {described(inputs)}: expected the names of your forward's arguments")
    flat = next((values for values in found if not values.ndim), None)
    if flat is not None:
        raise Refused(f"{where} hold a single {described(flat)}, expected rows [n, ...]")
    counts = sorted({len(values) for values in found})
    if len(counts) > 1:
        raise Refused(f"{where} have tensors of {', '.join(map(str, counts))} rows, expected as many in each")
    if not counts[0]:
        raise Refused(f"{where} have no rows")


def check_rows(inputs: Tree, where: str) -> None:
    """`check_forms`, and that no value is not finite."""
    check_forms(inputs, where)
    for values in tensors(inputs):
        if values.is_floating_point() and not values.isfinite().all():
            bad = (~values.flatten(1).isfinite()).any(dim=1) if values.ndim > 1 else ~values.isfinite()
            raise Refused(
                f"{where} hold values that are not finite (NaN or infinity) in {int(bad.sum())} of {len(values)} rows, "
                f"the first in row {int(bad.nonzero()[0])}; fill them in, or leave the rows out"
            )
