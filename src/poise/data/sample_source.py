"""A source of samples that are no images, put together from what was read of its splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, final

from torch import Tensor
from torch.utils.data import TensorDataset

from poise.data.arrays import as_tensors, stacked
from poise.data.labels import Labels
from poise.data.samples import Samples, check_rows, rows, shape_of
from poise.data.split_source import HOLDOUT, HOLDOUT_SEED
from poise.data.splits import stratified_holdout
from poise.errors import Refused, unknown
from poise.supernet.choice import described
from poise.supernet.trees import Tree, alike, count_of, in_order_of


class Split(NamedTuple):
    """What was read of a split: trees of tensors ``[n, ...]``. ``where`` names it in errors."""

    where: str
    inputs: Tree
    labels: Tree


@final
class SampleSource:
    """A `poise.data.source.Source` of samples. ``test`` reads the test split; it is called when that is first asked
    for. ``names`` are those that the data has for its labels, ``()`` if it has none."""

    def __init__(
        self, name: str, labels: Labels, names: Sequence[str], train: Split, test: Callable[[], Split] | None = None
    ) -> None:
        self.names = labels.names(train.labels, names, name)
        labels.check_training(train.labels, self.names, f"the training split of {name}")
        self.name = name
        self.reading = labels
        self._train = train
        self._open_test = test

    @property
    def described(self) -> str:
        """What its rows are, in words."""
        return f"rows of {shape_of(self._train.inputs, None).described}"

    def has(self, split: str) -> bool:
        return split == "train" or (split == "test" and self._open_test is not None)

    def labels(self, split: str) -> Tree:
        return self._split(split).labels

    def load(self, split: str, indices: Tensor | None = None, size: int | None = None) -> Samples:
        if size is not None:
            raise Refused(f"data.size is for images, and {self.name} is {self.described}")
        _, inputs, labels = self._split(split)
        samples = Samples(inputs, labels, self.names)
        return samples if indices is None else samples.subset(indices)

    @cached_property
    def _test(self) -> Split:
        if self._open_test is None:
            raise Refused(f"{self.name} has no test split; pass a pair (train, test)")
        train = self._train
        where, inputs, labels = self._open_test()
        test = Split(where, in_order_of(train.inputs, inputs), labels)
        seen, found = shape_of(train.inputs, None), shape_of(test.inputs, None)
        if not alike(train.inputs, test.inputs) or seen != found:
            raise Refused(f"{test.where} are {found.described}, those of the training split {seen.described}")
        self.reading.check_test(test.labels, train.labels, self.names, f"the test split of {self.name}")
        return test

    def _split(self, split: str) -> Split:
        if split not in ("train", "test"):
            raise unknown("split", split, ("train", "test"))
        return self._train if split == "train" else self._test


def held_out_samples(name: str, labels: Labels, names: Sequence[str], both: Split) -> SampleSource:
    """A source whose test split is ``HOLDOUT`` of what was read, as `poise.data.split_source.held_out`."""
    names = labels.names(both.labels, names, name)
    labels.check_training(both.labels, names, name)
    kept, held = stratified_holdout(labels.strata(both.labels), HOLDOUT, HOLDOUT_SEED, keep=2)
    if not len(held):
        raise Refused(f"{name} has {len(kept)} rows, too few to hold some out as a test split")

    def part(chosen: Tensor) -> Split:
        return Split(both.where, rows(both.inputs, chosen), rows(both.labels, chosen))

    return SampleSource(name, labels, names, part(kept), lambda: part(held))


def read_dataset(dataset: Any, kind: Labels, names: Sequence[str], where: str) -> Split:
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


def read_split(inputs: Tree, labels: Any, kind: Labels, names: Sequence[str], where: str) -> Split:
    """A split from inputs, a tree of arrays ``[n, ...]``, and labels as they came. Raises `Refused` for what does not
    fit together."""
    found = as_tensors(inputs, f"inputs of {where}")
    check_rows(found, f"inputs of {where}")
    read = kind.read(labels, where, names)
    count, other = count_of(found), count_of(read)
    if count != other:
        raise Refused(f"{where} have {count} rows of inputs but {other} labels")
    return Split(f"inputs of {where}", found, read)
