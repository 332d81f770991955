"""What all sources share that are put together from a training part and perhaps a test part."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, Self, TypeVar

from poise.data.labels import Labels
from poise.data.parts import Labelled
from poise.data.splits import stratified_holdout
from poise.errors import Refused, unknown

HOLDOUT = 0.2  # of the inputs, where a source has no test split of its own
HOLDOUT_SEED = 0  # fixed: the test split of a source is the same in every run


Part = TypeVar("Part", bound=Labelled)


class PartedSource(ABC, Generic[Part]):
    """A source from parts. ``test`` makes the test part; it is called when that split is first asked for.

    ``names`` are those that the data has for its labels, ``()`` if it has none.
    """

    unit: ClassVar[str]
    """What its inputs are called."""

    def __init__(
        self, name: str, labels: Labels, names: Sequence[str], train: Part, test: Callable[[], Part] | None = None
    ) -> None:
        self.names = labels.names(train.labels, names, name)
        labels.check_training(train.labels, self.names, f"the training split of {name}")
        self.name = name
        self.reading = labels
        self._train = train
        self._open_test = test

    @classmethod
    def held_out(cls, name: str, labels: Labels, names: Sequence[str], both: Part) -> Self:
        """A source whose test split is ``HOLDOUT`` of ``both``, stratified; two of every class stay to train on."""
        names = labels.names(both.labels, names, name)
        labels.check_training(both.labels, names, name)
        kept, held = stratified_holdout(labels.strata(both.labels), HOLDOUT, HOLDOUT_SEED, keep=2)
        if not len(held):
            raise Refused(f"{name} has {len(kept)} {cls.unit}, too few to hold some out as a test split")
        return cls(name, labels, names, both.select(kept), lambda: both.select(held))

    @classmethod
    def with_test(
        cls, name: str, labels: Labels, names: Sequence[str], train: Part, test: Callable[[], Part] | None
    ) -> Self:
        """A source that has a test split: ``test``, or else one that is held out."""
        return cls.held_out(name, labels, names, train) if test is None else cls(name, labels, names, train, test)

    def has(self, split: str) -> bool:
        return split == "train" or (split == "test" and self._open_test is not None)

    def labels(self, split: str) -> Any:
        return self._part(split).labels

    @cached_property
    def _test(self) -> Part:
        if self._open_test is None:
            raise Refused(f"{self.name} has no test split; pass a pair (train, test)")
        try:
            part = self._open_test()
        except OSError as error:
            raise Refused(f"cannot read the test split of {self.name}: {error.strerror or error}") from None
        self.reading.check_test(part.labels, self._train.labels, self.names, f"the test split of {self.name}")
        return part

    def _part(self, split: str) -> Part:
        if split not in ("train", "test"):
            raise unknown("split", split, ("train", "test"))
        return self._train if split == "train" else self._test
