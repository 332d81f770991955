"""Ground truth: what architectures reached when somebody trained them, in a table that can be asked.

A `Table` is an immutable value. Where architectures are compared, 1 is the best rank and a cell that was never measured
takes no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poise import registries
from poise.errors import Refused, unknown
from poise.genotype import Genotype
from poise.registry import Registry
from poise.spaces.space import SPACES
from poise.truth.ground_truth import JSON, Entry, Notation
from poise.truth.isomorphism import canonical_form

Column = NDArray[np.float64]


class Measurements(Mapping[str, float]):
    """Metric -> value of one architecture. Asking for what was not measured is refused; iterating leaves it out."""

    def __init__(self, table: Table, position: int) -> None:
        self._table, self.position = table, position

    def __getitem__(self, metric: str) -> float:
        value = float(self._table.column(metric)[self.position])
        if np.isnan(value):
            raise Refused(f"{metric} was not measured for {self._table.texts[self.position]:.200}")
        return value

    def __iter__(self) -> Iterator[str]:
        columns = self._table.columns
        return (name for name in self._table.metrics if not np.isnan(columns[name][self.position]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, metric: object) -> bool:
        return metric in set(self)

    def __repr__(self) -> str:
        return f"Measurements({dict(self)})"


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures of one space, by position, and one array per metric.

    Args:
        space: the name of a registered space.
        texts: every architecture in the table's notation, once.
        columns: metric -> values ``[architectures]``, float64; NaN where nothing was measured.
        notation: how ``texts`` are written; poise's JSON without blanks unless a kind of table has its own.
        lower: metrics of which a smaller value is the better one (losses, latencies, parameters).
        aliases: short name -> metric.
        others: more spaces whose architectures it holds.
        members: for a table that holds architectures of several spaces, or of none: space -> the texts of all of that
            space's, each with the architecture in a notation that `Genotype.parse` reads.

    Raises:
        Refused: a column has another length, holds an infinite value, or ``lower`` names a metric that is not there.
    """

    space: str
    texts: Sequence[str]
    columns: Mapping[str, Column]
    notation: Notation = JSON
    lower: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    members: Callable[[str], Mapping[str, str]] | None = None

    def __post_init__(self) -> None:
        SPACES[self.space]
        if not self.texts or not self.columns:
            raise Refused("a table needs at least one architecture and one metric")
        frozen = {}
        for name, values in self.columns.items():
            array = np.array(values, dtype=np.float64)
            if array.shape != (len(self.texts),):
                raise Refused(f"metric {name!r} has shape {list(array.shape)}, expected [{len(self.texts)}]")
            if np.isinf(array).any():
                raise Refused(f"metric {name!r} holds an infinite value")
            array.flags.writeable = False
            frozen[name] = array
        for name in sorted({*self.lower, *self.aliases.values()} - set(frozen)):
            raise unknown("metric", name, frozen)
        object.__setattr__(self, "columns", MappingProxyType(frozen))
        object.__setattr__(self, "texts", tuple(self.texts))
        object.__setattr__(self, "aliases", MappingProxyType(dict(self.aliases)))

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Genotype]:
        """The architectures, in the table's order."""
        return map(self.notation.read, self.texts)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.columns)

    def genotype(self, position: int) -> Genotype:
        """The architecture at a position."""
        if not 0 <= position < len(self):
            raise Refused(f"position {position} is not in a table of {len(self)} architectures")
        return self.notation.read(self.texts[position])

    def column(self, metric: str) -> Column:
        """All values of a metric (or of its short name), read-only; NaN where nothing was measured."""
        name = self.aliases.get(metric, metric)
        if name not in self.columns:
            raise unknown("metric", metric, (*self.columns, *self.aliases))
        return self.columns[name]

    def lower_is_better(self, metric: str) -> bool:
        """Whether a smaller value of this metric is the better one."""
        return self.aliases.get(metric, metric) in self.lower

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {text: position for position, text in enumerate(self.texts)}

    def position(self, architecture: Genotype | str) -> int:
        """Where the architecture stands: a genotype, or a text in the table's notation or that `Genotype.parse` reads.

        Raises `Refused` if it is of another space, malformed or not in the table.
        """
        text = self._text(architecture)
        if text not in self._positions:
            raise Refused(f"the table has no measurement of {text:.200} (it holds {len(self):,} architectures)")
        return self._positions[text]

    def _text(self, architecture: Genotype | str) -> str:
        if isinstance(architecture, str):
            if self.notation.key is not None:
                return self.notation.key(architecture)
            architecture = Genotype.parse(architecture, self.space)
        SPACES[architecture.space if architecture.space in self.others else self.space]().check(architecture)
        return self.notation.write(architecture)

    def lookup(self, architecture: Genotype | str) -> Measurements:
        """All that was measured of an architecture, a genotype or a text as `position` takes it."""
        return Measurements(self, self.position(architecture))

    def of(self, space: str) -> Table:
        """The architectures of one space alone, so that ranks and regrets are among these; of the table's spaces any.

        Raises `Refused` if the table is not of this space, or holds none of its architectures.
        """
        if space not in (self.space, *self.others):
            raise Refused(f"the table is of space {', '.join((self.space, *self.others))}, not of {space!r}")
        if self.members is None:
            return self
        found = self.members(space)
        kept = [position for position, text in enumerate(self.texts) if text in found]
        if not kept:
            raise Refused(f"none of the table's {len(self):,} architectures is one of {space!r}")
        return replace(
            self, space=space, texts=[self.texts[position] for position in kept], others=(), members=None,
            columns={name: values[kept] for name, values in self.columns.items()},
            notation=replace(self.notation, read=lambda text: Genotype.parse(found[text])),
        )  # fmt: skip

    def _goodness(self, metric: str) -> Column:
        """The values that were measured, turned so that more is better."""
        values = self.column(metric)
        values = values[~np.isnan(values)]
        if not len(values):
            raise Refused(f"{metric} was measured for no architecture")
        return -values if self.lower_is_better(metric) else values

    def _good(self, architecture: Genotype | str, metric: str) -> float:
        value = self.lookup(architecture)[metric]
        return -value if self.lower_is_better(metric) else value

    def rank(self, architecture: Genotype | str, metric: str) -> int:
        """``1 + number of architectures that are strictly better``: 1 is the best, equals share the best rank."""
        return 1 + int(np.count_nonzero(self._goodness(metric) > self._good(architecture, metric)))

    def percentile(self, architecture: Genotype | str, metric: str) -> float:
        """The share of measured architectures that are strictly worse, in %: 0 for the worst, never quite 100."""
        goodness = self._goodness(metric)
        return 100 * int(np.count_nonzero(goodness < self._good(architecture, metric))) / len(goodness)

    def best(self, metric: str) -> Entry:
        """The best architecture by a metric; of equals the first."""
        values = self.column(metric)
        self._goodness(metric)
        position = int(np.nanargmin(values) if self.lower_is_better(metric) else np.nanargmax(values))
        return Entry(position, self.genotype(position), float(values[position]))

    def best_value(self, metric: str) -> float:
        """Its value alone: also where the table's best architecture is one of no space."""
        return self.quantile(metric, 1.0)

    def quantile(self, metric: str, share: float) -> float:
        """The value that a share (0 to 1) of the architectures does not surpass: 0.5 the median, 0.99 the top 1 %.

        Between two values it is interpolated linearly.
        """
        if not 0 <= share <= 1:
            raise Refused(f"a share lies between 0 and 1, got {share}")
        value = float(np.quantile(self._goodness(metric), share))
        return -value if self.lower_is_better(metric) else value

    def regret(self, architecture: Genotype | str, metric: str) -> float:
        """How far the architecture stays behind the best one: ``|best - value|``, in the metric's unit."""
        return float(self._goodness(metric).max()) - self._good(architecture, metric)

    @cached_property
    def _forms(self) -> tuple[Sequence[str], Mapping[str, list[int]]]:
        forms = [canonical_form(genotype) for genotype in self]
        groups: dict[str, list[int]] = {}
        for position, form in enumerate(forms):
            groups.setdefault(form, []).append(position)
        return forms, groups

    def equivalents(self, genotype: Genotype) -> tuple[int, ...]:
        """Positions of all cells that compute the same as this one, its own included, see `isomorphism`.

        Their values differ by the noise of training. Only for NAS-Bench-201's space; the first call takes seconds.
        """
        form = canonical_form(genotype)
        return tuple(self._forms[1].get(form, ()))


class TableKind(Protocol):
    """A kind of table: a class in ``poise.truth.tables``, registered by name, that says which files it can open."""

    form: str  # what the file looks like

    def matches(self, path: Path) -> bool:
        """Whether this file is of this kind. At most one kind is."""
        ...

    def open(self, path: Path, lower: frozenset[str]) -> Table:
        """The table. Raises `Refused` naming the line that is wrong."""
        ...


TABLES: Registry[TableKind] = registries.TABLES


def open_table(path: str | Path, *, lower: Sequence[str] = ()) -> Table:
    """The table that a file holds; its content says of which kind it is.

    Args:
        path: a compact CSV of NAS-Bench-201 or NAS-Bench-101, or measurements of your own: a CSV with a column
            ``genotype`` (any notation that `Genotype.parse` reads) and numeric columns. Each may be gzipped.
        lower: metrics of your own of which a smaller value is the better one.

    Raises:
        Refused: the file is missing, of no known kind, too large or wrong, with the line.
    """
    path = Path(path)
    for kind in TABLES.values():
        if kind.matches(path):
            return kind.open(path, frozenset(lower))
    raise Refused(f"{path} is no table that poise knows, expected {'; or '.join(k.form for k in TABLES.values())}")
