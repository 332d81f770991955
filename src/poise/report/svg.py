"""Figures of matplotlib within a page: their colours become the page's, so that they follow light and dark."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from poise.report.style import FAINT, INK, LINE, RC, SERIES

COLOURS = {INK: "--ink", LINE: "--soft", FAINT: "--line", "#ffffff": "--paper", "#000000": "--ink"} | {
    colour: f"--s{index}" for index, colour in enumerate(SERIES)
}
"""Colour of a figure -> the page's variable for it."""


def themed(figure: Figure | Path) -> Markup:
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
    text = re.sub(ours, "", text[text.index("<svg") :], flags=re.DOTALL)

    def colours(style: re.Match[str]) -> str:
        return re.sub(r"#[0-9a-f]{6}", lambda each: _variable(each[0]), style[0])

    text = re.sub(r'style="[^"]*"', colours, text)
    # two figures of a page may not have the same ids
    mark = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:6]
    text = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>f{mark}-", text)
    return Markup(text)  # matplotlib has escaped every text in it


def _variable(colour: str) -> str:
    return f"var({COLOURS[colour]})" if colour in COLOURS else colour
