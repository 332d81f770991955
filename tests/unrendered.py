"""Figures of runs that are not drawn, and others that are drawn but not rendered: that takes four fifths of the time of
a small search.

``python -m unrendered …`` is ``python -m poise …`` so.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any


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


def empty(*_: Any) -> Any:
    """Stands for what draws a run: a figure with nothing in it."""
    from matplotlib.figure import Figure

    return Figure()


STANDINS = {
    "matplotlib.figure.Figure.savefig": blank,
    "poise.report.style.TextPath": Rough,
    **dict.fromkeys((f"poise.workflow.show.{name}_figure" for name in ("cell", "mixture", "curves")), empty),
}
"""What is replaced, and what stands for it."""


if __name__ == "__main__":
    from matplotlib.figure import Figure

    Figure.savefig = blank
    runpy.run_module("poise", run_name="__main__", alter_sys=True)
