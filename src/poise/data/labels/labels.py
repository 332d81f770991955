"""What a kind of label must offer, and what is known of the labels of a training split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor

from poise.errors import Refused


@dataclass(frozen=True)
class Seen:
    """What is known of the labels of a training split: all that a task needs of them later.

    Args:
        names: of the classes, or of the quantities.
        statistics: numbers, one for each name: ``count`` (images of each class, positives of sets, pixels of masks),
            or ``mean`` and ``std`` of each quantity in its own unit.
    """

    names: tuple[str, ...]
    statistics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "names": list(self.names),
            "statistics": {name: list(values) for name, values in self.statistics.items()},
        }

    @staticmethod
    def of(facts: Any) -> Seen:
        """From `facts`. Raises `Refused` if they are damaged."""
        try:
            names = tuple(facts["names"])
            found = {str(name): tuple(float(each) for each in values) for name, values in facts["statistics"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Refused(f"{facts!r:.60} does not say what labels are, expected names and statistics") from None
        if not all(type(name) is str for name in names) or any(len(each) != len(names) for each in found.values()):
            raise Refused(f"{facts!r:.60} does not say what labels are, expected a text and a number for each name")
        return Seen(names, found)


class Labels(Protocol):
    """A kind of label: a frozen value, which a task holds. All that depends on the kind is asked of it."""

    what: ClassVar[str]
    """What refusals call them: "class ids", "sets of classes", "numbers", "masks"."""
    dense: ClassVar[bool] = False
    """Whether there is a label for every pixel: it then moves and is resized with its image."""

    @property
    def outside(self) -> int:
        """What there is beyond the border of an image, where the kind is dense."""
        return 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Which columns of a table; ``()`` stands for those of the usual names, or all that fit."""
        return ()

    def choose(self, table: Mapping[str, str], where: str) -> tuple[str, ...]:
        """Which columns of a table hold the labels. Raises `Refused` if none does.

        Args:
            table: of every column, what it holds: ``whole`` (whole numbers), ``number``,
                ``text``, ``list``, ``image`` or ``other``.
            where: what refusals call the table.
        """
        ...

    def named(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The names of classes that ``values`` use themselves, in alphabetical order; ``()`` where they use none."""
        return ()

    def read(self, values: Any, where: str, names: Sequence[str] = ()) -> Tensor:
        """``values``, of n images, as a tensor whose first axis is n. Raises `Refused` if they do not fit.

        Args:
            values: a sequence, an array or a tensor.
            where: what refusals call the place that they come from.
            names: those of the classes, in order, where they are known: for values that are names.
        """
        ...

    def names(self, labels: Tensor, given: Sequence[str], where: str) -> tuple[str, ...]:
        """Names for what was read: those that the source has (``given``), or numbers if it has none."""
        ...

    def check_training(self, labels: Tensor, names: Sequence[str], where: str) -> None:
        """Raises `Refused` unless ``labels`` can train and validate."""
        ...

    def check_test(self, labels: Tensor, training: Tensor, names: Sequence[str], where: str) -> None:
        """Raises `Refused` unless a network that was trained with ``training`` can be tested with ``labels``."""
        ...

    def strata(self, labels: Tensor) -> Tensor:
        """int64 ``[n]``: what splits are stratified by; of equal numbers each part gets its share."""
        ...

    def seen(self, labels: Tensor, names: Sequence[str]) -> Seen:
        """What a task needs to know of the training split."""
        ...

    def note(self, labels: Tensor, names: Sequence[str], where: str) -> str | None:
        """What a person should be told of the training split's labels, though they can be trained on; None: nothing."""
        return None
