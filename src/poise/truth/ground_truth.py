"""What anything that knows how good an architecture is must offer; `Table` is the one that comes with poise."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from poise.genotype import Genotype


@runtime_checkable
class GroundTruth(Protocol):
    """Whatever knows how good an architecture is: a `Table`, a surrogate, measurements made on demand."""

    @property
    def space(self) -> str:
        """The name of the search space."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is known of an architecture."""
        ...

    def lookup(self, genotype: Genotype) -> Mapping[str, float]:
        """Metric -> value. Raises `Refused` if the architecture is not known."""
        ...


@dataclass(frozen=True)
class Notation:
    """How a table writes its architectures: one text for one architecture, and back.

    ``key`` turns what a person may write into the table's text, where that takes more than `Genotype.parse`.
    """

    write: Callable[[Genotype], str]
    read: Callable[[str], Genotype]
    key: Callable[[str], str] | None = None


def _compact(genotype: Genotype) -> str:
    return json.dumps(genotype.to_dict(), separators=(",", ":"))


JSON = Notation(_compact, Genotype.from_json)


class Entry(NamedTuple):
    """One architecture of a table, and one of its values."""

    position: int
    genotype: Genotype
    value: float
