"""A source of samples that are no images, put together from what was read of its splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor
from torch.utils.data import TensorDataset

from poise.data.as_tensors import as_tensors, stacked
from poise.data.labels import Labels
from poise.data.parted import PartedSource
from poise.data.samples import Samples, check_rows, rows, shape_of
from poise.errors import Refused
from poise.spaces.sample_shape import SampleShape
from poise.supernet.choice import described
from poise.supernet.trees import Tree, alike, count_of, in_order_of


@dataclass(frozen=True, eq=False)
class SamplePart:
    """What was read of a split: trees of tensors ``[n, ...]``. ``where`` names it in errors."""

    where: str
    inputs: Tree
    labels: Tree

    @property
    def shape(self) -> SampleShape:
        """Of the inputs."""
        return shape_of(self.inputs, None)

    def select(self, chosen: Tensor) -> SamplePart:
        return SamplePart(self.where, rows(self.inputs, chosen), rows(self.labels, chosen))

    def fitted(self, train: SamplePart) -> SamplePart:
        """With inputs in the order of the training split's. Raises `Refused` if they have another shape."""
        inputs = in_order_of(train.inputs, self.inputs)
        if not alike(train.inputs, inputs) or train.shape != shape_of(inputs, None):
            found = shape_of(inputs, None).described
            raise Refused(f"{self.where} are {found}, those of the training split {train.shape.described}")
        return SamplePart(self.where, inputs, self.labels)


@final
class SampleSource(PartedSource[SamplePart]):
    """A `poise.data.source.Source` of samples that are no images."""

    unit = "rows"

    def __init__(
        self, name: str, labels: Labels, names: Sequence[str], train: SamplePart,
        test: Callable[[], SamplePart] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, labels, names, train, None if test is None else lambda: test().fitted(train))

    @property
    def described(self) -> str:
        """What its rows are, in words."""
        return f"rows of {self._train.shape.described}"

    def load(self, split: str, indices: Tensor | None = None, size: int | None = None) -> Samples:
        if size is not None:
            raise Refused(f"data.size is for images, and {self.name} is {self.described}")
        part = self._part(split)
        samples = Samples(part.inputs, part.labels, self.names)
        return samples if indices is None else samples.subset(indices)


def read_dataset(dataset: Any, kind: Labels, names: Sequence[str], where: str) -> SamplePart:
    """All of a map-style Dataset whose items are (inputs, target), read once. Of a `TensorDataset` the last tensor is
    the target."""
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        *inputs, targets = dataset.tensors
        return read_split(inputs[0] if len(inputs) == 1 else tuple(inputs), targets, kind, names, where)
    items = []
    for row in range(len(dataset)):
        item = dataset[row]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise Refused(f"item {row} of {where} is {described(item)}, expected a pair (inputs, target)")
        items.append(item)
    return read_split(stacked([inputs for inputs, _ in items], where), [y for _, y in items], kind, names, where)


def read_split(inputs: Tree, labels: Any, kind: Labels, names: Sequence[str], where: str) -> SamplePart:
    """A split from inputs, a tree of arrays ``[n, ...]``, and labels as they came. Raises `Refused` for what does not
    fit together."""
    found = as_tensors(inputs, f"inputs of {where}")
    check_rows(found, f"inputs of {where}")
    read = kind.read(labels, where, names)
    count, other = count_of(found), count_of(read)
    if count != other:
        raise Refused(f"{where} have {count} rows of inputs but {other} labels")
    return SamplePart(f"inputs of {where}", found, read)
