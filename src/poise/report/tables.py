"""Tables for the terminal. Every text is shown as it is: no name can be taken for markup."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from poise.diagnostics.decidedness import Decidedness
from poise.genotype import Genotype
from poise.report.curves import Record, flatten
from poise.report.decidedness import verdict
from poise.report.readable_numbers import SPLITS, is_share, parts, shares, words
from poise.supernet.groups import ChoiceGroup

FIRST = {"epoch": "epoch", "stage": "stage"}
LAST = {
    "averaging": "averaged",
    "skip_share": "skips",
    "alignment/train": "alignment",
    "drop_path": "drop-path",
    "learning_rate": "rate",
    "seconds": "seconds",
}
"""Flat name in a record -> head of its column; between these stand losses and metrics."""


def genotype_table(
    genotype: Genotype, groups: Sequence[ChoiceGroup], found: Decidedness | None = None, every: bool = True
) -> Table:
    """Group, row, what the row keeps; a dash where it keeps nothing; and, where that is known, how decided it is. Rows
    are in the order of the space; without ``every``, only those that keep something."""
    known = found is not None and bool(found.leads)
    table = _table("group", "row", "keeps", *(["decided"] if known else []))
    for group in groups:
        chosen = genotype.choices.get(group.name, {})
        rows = [row for row in group.rows if every or chosen.get(row.name)]
        for index, row in enumerate(rows):
            kept = " + ".join(chosen.get(row.name, ())) or "–"
            first, last = index == 0, index == len(rows) - 1
            cells = [group.name if first else "", row.name, kept]
            if found is not None and known:
                cells.append("; ".join(verdict(lead) for lead in found.of(group.name, row.name)))
            table.add_row(*map(Text, cells), end_section=last, style="" if row.name in chosen else "dim")
    return table


def history_table(history: Sequence[Record], last: int = 10) -> Columns:
    """The last epochs' records, one line each, with a column for every number that they hold and there is room for."""
    records = [flatten(record) for record in history[-last:]] if last > 0 else []
    there = dict.fromkeys(name for record in records for name in record)
    measured = sorted((name for name in there if parts(name)[0]), key=lambda name: list(SPLITS).index(parts(name)[0]))
    columns = {**FIRST, **{name: words(name) for name in measured}, **LAST}
    names, known = [name for name in columns if name in there], shares(history)
    losses = [name for name in measured if parts(name)[1] == "loss"]
    rows = [[number(name, record[name], known) if name in record else "–" for name in names] for record in records]
    needless = [*reversed(LAST), *losses, *(name for name in measured if name not in losses)]
    return Columns([columns[name] for name in names], rows, [columns[name] for name in needless if name in there])


@dataclass(frozen=True)
class Columns:
    """A table of numbers that leaves out whole columns where it does not fit, never parts of a number.

    Args:
        heads: of the columns.
        rows: a text for each.
        needless: heads of columns that may be left out, the first one first.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    needless: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update(max_width=10_000)  # else what a table takes is cut to what there is
        for table in self._narrower():
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                break
        yield table

    def _narrower(self) -> Iterator[Table]:
        """Tables to choose from: whole, with heads of several lines, then without more and more columns."""
        yield self._without((), " ")
        for count in range(len(self.needless) + 1):
            yield self._without(self.needless[:count], "\n")

    def _without(self, needless: Collection[str], between: str) -> Table:
        kept = [index for index, head in enumerate(self.heads) if head not in needless]
        table = _table()
        for index in kept:
            table.add_column(self.heads[index].replace(" ", between), justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(Text(row[index]) for index in kept))
        return table


def rows_table(rows: Sequence[Sequence[str]], left: Collection[str]) -> Table:
    """Rows of text below their head, the first one; the columns whose heads are in ``left`` hold words, the others
    numbers."""
    table = _table()
    for head in rows[0]:
        table.add_column(head, justify="left" if head in left else "right")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return table


def speed_table(report: Mapping[str, Any]) -> Table:
    """What `poise.bench.speed` measured. Ratios are to the row of the number beside them."""
    about = ", ".join(f"{name} {value}" for name, value in {**report["space"], **report["machine"]}.items())
    rounds = f"batch {report['batch_size']}, {report['image_size']} pixels, {report['rounds']} rounds"
    rows = {timing["name"]: row for row, timing in enumerate(report["timings"], start=1)}
    table = _table()
    table.caption = Text(f"{about}; {rounds}")
    for head in ("", "what", "seconds", "ratio", "kernels", "memory"):
        table.add_column(head, justify="left" if head == "what" else "right")
    for timing in report["timings"]:
        name, reference, memory = timing["name"], timing["reference"], timing["peak_mb"]
        ratio = "" if reference == name else f"{timing['ratio']:.3g} of {rows[reference]}"
        kept = "" if memory is None else f"{memory:,.0f} MB"
        cells = (str(rows[name]), name, f"{timing['seconds']:.4g}", ratio, f"{timing['kernels']:,}", kept)
        table.add_row(*map(Text, cells))
    return table


def result_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def number(name: str, value: float, known: frozenset[str] | None = None) -> str:
    """A record's number as a person reads it: epochs and stages from 1, shares (of ``known``; by default those of all
    tasks) in percent."""
    if name in FIRST:
        return f"{value + 1:.0f}"
    if name == "skip_share" or is_share(name, shares() if known is None else known):
        return f"{100 * value:.2f}%"
    if name == "alignment/train":
        return f"{value:+.2f}"
    if name == "seconds":
        return f"{value:.1f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def result_rows(result: Mapping[str, Any], history: Sequence[Record] = (), each: bool = True) -> list[tuple[str, str]]:
    """The entries of a result, shares in percent; ``history`` may know of more of them. Without ``each``, no numbers of
    single classes where these are more than `FEW`."""
    known = shares(history)
    single = [name for name in result if "/" in name]

    def text(value: Any, share: bool) -> str:
        if not isinstance(value, float):
            return f"{value:,}" if isinstance(value, int) else str(value)
        return f"{100 * value:.2f}%" if share else f"{value:.4f}"

    hidden = single if len(single) > FEW and not each else []
    rows = [(words(name), text(value, is_share(name, known))) for name, value in result.items() if name not in hidden]
    return [*rows, *([("of single classes", f"{len(hidden)} more numbers, with -v")] if hidden else [])]


FEW = 10
"""Numbers of single classes that are shown without being asked for."""


def _table(*columns: str) -> Table:
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
