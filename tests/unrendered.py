"""Figures that are made and written, but not rendered: that takes four fifths of the time of a small search.

``python -m unrendered …`` is ``python -m poise …`` so.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

FIGURE, TEXT = "matplotlib.figure.Figure.savefig", "poise.report.style.TextPath"


def blank(figure: Any, target: Any, **_: Any) -> None:
    """Stands for ``Figure.savefig``: an empty picture."""
    content = b'<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    if hasattr(target, "write"):
        target.write(content)
    else:
        Path(target).write_bytes(content)


class Rough:
    """Stands for ``TextPath``: where a text that is not rendered would end, by its letters alone."""

    def __init__(self, place: Any, text: str, size: float) -> None:
        self.width = 0.6 * size * len(text)

    def get_extents(self) -> Rough:
        return self


if __name__ == "__main__":
    from matplotlib.figure import Figure

    Figure.savefig = blank
    runpy.run_module("poise", run_name="__main__", alter_sys=True)
