"""Tables for the terminal. Every text is shown as it is: no name can be taken for markup."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich import box
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


def genotype_table(genotype: Genotype, groups: Sequence[ChoiceGroup], found: Decidedness | None = None) -> Table:
    """Group, row, what the row keeps; a dash where it keeps nothing; and, where that is known, how decided it is. Rows
    are in the order of the space."""
    known = found is not None and bool(found.leads)
    table = _table("group", "row", "keeps", *(["decided"] if known else []))
    for group in groups:
        chosen = genotype.choices.get(group.name, {})
        for index, row in enumerate(group.rows):
            kept = " + ".join(chosen.get(row.name, ())) or "–"
            first, last = index == 0, index == len(group.rows) - 1
            cells = [group.name if first else "", row.name, kept]
            if found is not None and known:
                cells.append("; ".join(verdict(lead) for lead in found.of(group.name, row.name)))
            table.add_row(*map(Text, cells), end_section=last, style="" if row.name in chosen else "dim")
    return table


def history_table(history: Sequence[Record], last: int = 10) -> Table:
    """The last epochs' records, one line each, with a column for every number that they hold."""
    records = [flatten(record) for record in history[-last:]] if last > 0 else []
    there = dict.fromkeys(name for record in records for name in record)
    measured = sorted((name for name in there if parts(name)[0]), key=lambda name: list(SPLITS).index(parts(name)[0]))
    columns = {**FIRST, **{name: words(name) for name in measured}, **LAST}
    names, known = [name for name in columns if name in there], shares(history)
    table = _table()
    for name in names:
        table.add_column(columns[name], justify="right")
    for record in records:
        table.add_row(*(Text(number(name, record[name], known) if name in record else "–") for name in names))
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


def result_rows(result: Mapping[str, Any], history: Sequence[Record] = ()) -> list[tuple[str, str]]:
    """The entries of a result, shares in percent; ``history`` may know of more of them."""
    known = shares(history)

    def text(name: str, value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{100 * value:.2f}%" if is_share(name, known) else f"{value:.4f}"

    return [(words(name), text(name, value)) for name, value in result.items()]


def _table(*columns: str) -> Table:
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
