"""A diagnosis as a table, for the terminal and as plain text."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.table import Table
from rich.text import Text

PERCENT = ("accuracy", "accuracy_discrete", "drop", "settled")
"""Last parts of names whose numbers are shares."""


def readable(name: str, value: float) -> str:
    """A number as a person reads it: accuracies and shares in percent, everything else with 4 digits."""
    percent = name.split("/")[-1] in PERCENT or name.startswith("skips/")
    return f"{100 * value:.2f}%" if percent else f"{value:.4g}"


def lines(numbers: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Diagnostic, number, value; a diagnostic is named where it begins."""
    found: list[tuple[str, str, str]] = []
    last = ""
    for name, value in numbers.items():
        head, _, rest = name.partition("/")
        found.append((head if head != last else "", rest.replace("/", " "), readable(name, value)))
        last = head
    return found


def diagnosis_table(numbers: Mapping[str, float]) -> Table:
    """One line per number, by diagnostic."""
    table = Table("diagnostic", "of what", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("value", justify="right")
    for head, rest, value in lines(numbers):
        table.add_row(Text(head, style="bold"), Text(rest), Text(value))
    return table


def numbers_text(numbers: Mapping[str, float]) -> str:
    """The same as aligned plain text, one number per line."""
    width = max(map(len, numbers), default=0)
    return "\n".join(f"{name:<{width}}  {readable(name, value)}" for name, value in numbers.items())
