"""What a result says of itself: a few lines where Python prints it, cells and a table in a notebook."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poise.errors import Refused
from poise.genotype import Genotype
from poise.report.readable_numbers import is_share, parts, shares, words
from poise.spaces.space import SPACES, Space
from poise.supernet.groups import ChoiceGroup, searchable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST, LONGEST = 140, 9
"""Characters of a line, and lines."""


@dataclass(frozen=True)
class Summary:
    """A result in short.

    Args:
        title: what it is.
        rows: names and values.
        figure: draws it; None: there is nothing to draw.
    """

    title: str
    rows: Sequence[tuple[str, str]]
    figure: Callable[[], Figure] | None = None

    def text(self) -> str:
        """At most `LONGEST` lines of `WIDEST` characters; every value is one line."""
        left = max((len(name) for name, _ in self.rows), default=0)
        lines = [self.title, *(f"  {name:<{left}}  {' '.join(value.split())}" for name, value in self.rows)]
        if len(lines) > LONGEST:  # the last one says what to do
            lines = [*lines[: LONGEST - 2], f"  … and {len(lines) - LONGEST + 1} more", lines[-1]]
        return "\n".join(line if len(line) <= WIDEST else line[: WIDEST - 1] + "…" for line in lines)

    def html(self) -> str:
        """A table, and the figure as SVG: nothing comes from anywhere else, and every text is escaped."""
        from poise.report.page import Block, Drawing, Grid, Paragraph, html_of

        parts: list[Block] = [Paragraph(self.title), Grid(self.rows)]
        return html_of([*parts, *([Drawing(self.figure())] if self.figure else ())])


class Summarised(ABC):
    """Printed, its `Summary` as text; in a notebook as HTML."""

    @abstractmethod
    def summary(self) -> Summary:
        """The result in short."""

    def __repr__(self) -> str:
        return self.summary().text()

    def _repr_html_(self) -> str:
        return self.summary().html()


def cells(genotype: Genotype, groups: Sequence[ChoiceGroup]) -> Callable[[], Figure]:
    """Draws a genotype of the groups."""

    def draw() -> Figure:
        from poise.report.cell import cell_figure

        return cell_figure(genotype, searchable(groups))

    return draw


def drawing(genotype: Genotype) -> Callable[[], Figure] | None:
    """Draws a genotype; None where a registered space, as it is by default, has no such genotype."""
    if genotype.space not in SPACES:
        return None
    space: Space = SPACES[genotype.space]()
    try:
        space.check(genotype)
    except Refused:
        return None
    return cells(genotype, space.groups)


def measured(numbers: Mapping[str, object], records: Iterable[Mapping[str, object]] = ()) -> list[tuple[str, str]]:
    """Numbers of a result as rows: shares in percent, counts with commas; those of single classes are left out.
    ``records`` may know of more that are shares."""
    rows, known = [], shares(records)
    for name, value in numbers.items():
        if isinstance(value, int | float) and "/" not in name:
            count = isinstance(value, int) or (math.isfinite(value) and value == round(value) and value >= 1000)
            percent = is_share(name, known)
            text = f"{100 * value:.2f}%" if percent else f"{value:,.0f}" if count else f"{value:.4g}"
            rows.append((words(name), text))
    return rows


def headline(result: Mapping[str, object], history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """`measured`, of metrics the one alone that counts, by the history's last record."""
    metrics = [record["metric"]["name"] for record in history[-1:] if "metric" in record]
    kept = {name: value for name, value in result.items() if not metrics or parts(name)[1] in (name, "loss", *metrics)}
    return measured(kept, history[-1:])


def listed(names: Sequence[str], most: int = 5) -> str:
    """``10: cat, dog, …``"""
    return f"{len(names)}: {', '.join(names[:most])}{', …' if len(names) > most else ''}"


def epochs(number: int) -> str:
    """``1 epoch``, ``50 epochs``."""
    return f"{number:,} epoch{'' if number == 1 else 's'}"
