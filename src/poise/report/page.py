"""A page as values: what stands on it, not how it looks. One HTML file tells the whole story; nothing in it, no font,
no picture, comes from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from matplotlib.figure import Figure

from poise.report.charts import Chart, charts, numbers_grid
from poise.report.curves import Panel
from poise.report.pictures import Picture
from poise.report.render import render
from poise.report.svg import themed

Status = Literal["running", "stopped", "finished"]
FILE = "report.html"


class Block(Protocol):
    """A part of a section; the template of its ``kind`` makes HTML of it, and escapes every text."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Code:
    """Text as it stands: a configuration, a genotype."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Grid:
    """A table; an empty head for names and values. ``numbers``: all columns but the first are aligned at the right."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    numbers: bool = False
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Drawing:
    """A figure of matplotlib, or the SVG file of one, and what it shows."""

    figure: Figure | Path
    caption: str = ""
    kind: ClassVar[str] = "drawing"

    @property
    def svg(self) -> str:
        """The figure as an element of the page, whose colours follow the page's."""
        return themed(self.figure)


@dataclass(frozen=True)
class Curves:
    """Charts over epochs that can be read off point by point."""

    panels: Sequence[Panel]
    kind: ClassVar[str] = "curves"

    @property
    def charts(self) -> Sequence[Chart]:
        """One per panel, over the same epochs."""
        return charts(self.panels)

    @property
    def numbers(self) -> Grid:
        """The same as a table."""
        head, rows = numbers_grid(self.panels)
        return Grid(rows, head, numbers=True)


@dataclass(frozen=True)
class Pictures:
    """Cells, drawn, and choices that are no cells: ``(label, ((candidate, whether it is kept), …))``."""

    cells: Sequence[Picture]
    choices: Sequence[tuple[str, Sequence[tuple[str, bool]]]] = ()
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Folded:
    """What is only shown on request."""

    title: str
    blocks: Sequence[Block]
    kind: ClassVar[str] = "folded"


@dataclass(frozen=True)
class Downloads:
    """Files in the page: name -> link that holds it, see `poise.report.render.data_link`."""

    files: Mapping[str, str]
    kind: ClassVar[str] = "downloads"


@dataclass(frozen=True)
class Strip:
    """One row of `Strips`: places from 0 to 1, and what they are in words."""

    label: str
    places: Sequence[float]
    interval: tuple[float, float] | None
    value: str
    about: str


@dataclass(frozen=True)
class Strips:
    """Values as dots beside each other, a row for each thing that has several; ``ticks``: ``(place, label)``."""

    rows: Sequence[Strip]
    ticks: Sequence[tuple[float, str]]
    caption: str
    kind: ClassVar[str] = "strips"


@dataclass(frozen=True)
class Beside:
    """Columns beside each other, where there is room: ``(title, blocks)``, which are `Pictures` or `Paragraph`."""

    columns: Sequence[tuple[str, Sequence[Block]]]
    kind: ClassVar[str] = "beside"


@dataclass(frozen=True)
class Links:
    """Other pages: ``(what, where, what is said of it)``; relative, so that a folder can be moved."""

    links: Sequence[tuple[str, str, str]]
    kind: ClassVar[str] = "links"


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Fact:
    """A number of the first screen, and what is to be known of it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """Everything that a page shows, in this order.

    Args:
        title: what it is about.
        what: what kind of work that was, such as ``search``.
        sentence: what was found.
        state: how far it is; ``progress`` says more. A page of what is running loads itself again.
        facts: the numbers that count.
        warnings: what should be known before they are trusted.
        commands: what to do next: ``(why, command)``.
        baselines: rows of what else was trained for comparison, below their head; empty: nothing was.
        sections: all else.
        written: when, in seconds since 1970.
    """

    title: str
    what: str = ""
    sentence: str = ""
    state: Status = "finished"
    progress: str = ""
    facts: Sequence[Fact] = ()
    warnings: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()
    baselines: Sequence[Sequence[str]] = ()
    sections: Sequence[Section] = field(default=())
    written: float = 0.0

    @property
    def stateful(self) -> bool:
        """Whether it is about one piece of work, whose state matters."""
        return self.what in ("search", "training", "bench")

    def html(self) -> str:
        """The whole file."""
        return render("page.html", page=self, baselines=Grid(self.baselines[1:], self.baselines[0], True) if
                      self.baselines else None)  # fmt: skip


def html_of(blocks: Sequence[Block]) -> str:
    """Blocks alone, to stand within another page."""
    return render("blocks_alone.html", blocks=blocks)


def write_page(folder: Path, title: str, *sections: Section) -> Path:
    """Write ``report.html`` of these sections into ``folder``, which is made, and return its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    file.write_text(Page(title, sections=sections).html(), encoding="utf-8")
    return file
