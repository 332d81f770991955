"""A diagnosis as a table, for the terminal and as plain text."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from poise.report.readable_numbers import shares


def readable(name: str, numbers: Mapping[str, float]) -> str:
    """One of these numbers as a person reads it: shares in percent, everything else with 4 digits."""
    head, _, last = name.rpartition("/")
    known = shares()

    def is_metric(name: str) -> bool:
        return name.removesuffix("_discrete") in known

    percent = head == "skips" or is_metric(last) or last == "settled"
    if last == "drop":  # of whatever metric there is
        percent = any(is_metric(other.rpartition("/")[2]) for other in numbers if other.startswith(f"{head}/"))
    return f"{100 * numbers[name]:.2f}%" if percent else f"{numbers[name]:.4g}"


def diagnosis_table(numbers: Mapping[str, float]) -> Table:
    """One line per number; a diagnostic is named where it begins."""
    table = Table("diagnostic", "of what", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("value", justify="right")
    last = ""
    for name in numbers:
        head, _, rest = name.partition("/")
        first = Text(head if head != last else "", style="bold")
        table.add_row(first, Text(rest.replace("/", " ")), Text(readable(name, numbers)))
        last = head
    return table


def numbers_text(numbers: Mapping[str, float]) -> str:
    """The same as aligned plain text, one number per line."""
    width = max(map(len, numbers), default=0)
    return "\n".join(f"{name:<{width}}  {readable(name, numbers)}" for name in numbers)
