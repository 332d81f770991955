"""One HTML file that tells the whole story: no script, no font, no picture comes from anywhere else."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from poise.report.style import RC

STYLE = """
:root { color-scheme: light dark; --ink: #24292f; --soft: #57606a; --line: #d0d7de; --paper: #fff; --tint: #f6f8fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --paper: #0d1117; --tint: #161b22 }
}
body { margin: 3rem auto; max-width: 62rem; padding: 0 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, sans-serif }
h1 { font-size: 1.9rem; margin: 0 0 2rem } h2 { font-size: 1.25rem; margin: 3rem 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }
.wide { overflow-x: auto }
th, td { padding: .3rem 1.2rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--soft); font-weight: 600 }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 6px; padding: 1rem; overflow-x: auto;
  font-size: .85rem; line-height: 1.45 }
figure { margin: 1.5rem 0; overflow-x: auto } figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem }
figure svg { background: #fff; border-radius: 6px; max-width: 100%; height: auto }
figure svg * { stroke-linejoin: round; stroke-linecap: butt }
"""


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str

    def html(self) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Code:
    """Text as it stands: a configuration, a genotype."""

    text: str

    def html(self) -> str:
        return f"<pre>{escape(self.text)}</pre>"


@dataclass(frozen=True)
class Grid:
    """A table; an empty head for names and values."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()

    def html(self) -> str:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.head)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in self.rows)
        return f'<div class="wide"><table>\n{f"<tr>{head}</tr>" if head else ""}\n{rows}</table></div>'


@dataclass(frozen=True)
class Drawing:
    """A figure, or the SVG file of one, and what it shows."""

    figure: Figure | Path
    caption: str = ""

    def html(self) -> str:
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return f"<figure>\n{svg(self.figure)}\n{caption}</figure>"


Block = Paragraph | Code | Grid | Drawing
"""A part of a section; as HTML every text of it is escaped."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    blocks: Sequence[Block]

    def html(self) -> str:
        return f"<h2>{escape(self.heading)}</h2>\n" + "\n".join(block.html() for block in self.blocks)


def svg(figure: Figure | Path) -> str:
    """A figure, or the SVG file of one, as an ``<svg>`` element to stand within a page."""
    if isinstance(figure, Path):
        text = figure.read_text(encoding="utf-8")
    else:
        buffer = io.BytesIO()
        with mpl.rc_context(RC):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        text = buffer.getvalue().decode()
    # prolog and metadata belong to a file; the style in it would reach out to the whole page
    ours = r"<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</style>\s*</defs>"
    return re.sub(ours, "", text[text.index("<svg") :], flags=re.DOTALL)


def write_page(folder: Path, title: str, *sections: Section) -> Path:
    """Write ``report.html`` into ``folder``, which is made, and return its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    body = "\n\n".join(section.html() for section in sections)
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n\n{body}\n</body>\n</html>\n"
    )
    file = folder / "report.html"
    # a folder's name may hold bytes that are no UTF-8: they are shown as \udcff
    file.write_text(page, encoding="utf-8", errors="backslashreplace")
    return file
