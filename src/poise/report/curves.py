"""Curves of a search or a retraining over its epochs: a panel for everything that the records hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from poise.errors import Refused
from poise.report.axis import axis
from poise.report.readable_numbers import SPLITS, is_share, parts, shares, words
from poise.report.style import FAINT, RC, SERIES

Record = Mapping[str, Any]
"""What one epoch left: ``epoch`` and numbers, nested by name. Anything may be missing or None."""

PANELS = {
    "layer alignment": {"alignment/train": "train", "alignment/search": "search"},
    "skip share": {"skip_share": "skip share"},
    "dominant eigenvalue": {"eigenvalue": "by differences", "spectrum/largest": "exact"},
    "drop at discretisation": {"discretisation/drop": "drop"},
    "penalty": {"penalty": "penalty"},
    "learning rate": {"learning_rate": "learning rate"},
}
"""Panel -> flat name of a number -> label of its curve, after those of losses and metrics."""

GROUP_PANELS = {
    "mixture entropy (nats)": ("mixture/", "/entropy"),
    "distance from discrete": ("saturation/", "/distance"),
}
"""Panel -> how the flat names begin and end between which a group's name stands, which is the curve's label."""


def flatten(record: Record, prefix: str = "") -> dict[str, float]:
    """The finite numbers of a record, nested names joined by ``/``: ``{"mixture/normal/entropy": 1.9, ...}``."""
    flat: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and _finite(value):
            flat[f"{prefix}{name}"] = float(value)
    return flat


@dataclass(frozen=True)
class Panel:
    """What one panel shows.

    Args:
        title: of the panel, with its unit.
        curves: label -> points ``(epoch, value)``; epochs count from 1, shares are in percent.
    """

    title: str
    curves: Mapping[str, Sequence[tuple[float, float]]]

    @property
    def plain(self) -> bool:
        """Whether the title says all that a legend would."""
        return len(self.curves) == 1 and next(iter(self.curves)) in self.title


def panels_of(history: Sequence[Record]) -> list[Panel]:
    """Losses, metrics, layer alignment, skip share, mixture entropy and more over epochs, as far as they are there."""
    records = [flatten(record) for record in history]
    names = dict.fromkeys(name for record in records for name in record)
    if not any(record.get("penalty") for record in records):
        names.pop("penalty", None)  # a search without one records zeros
    known = shares(history) | {"skip_share"}
    if any(name.removeprefix("discretisation/") in known for name in names):
        known |= {"discretisation"}  # the drop is one, too
    found = {title: _of_groups(names, *ends) for title, ends in GROUP_PANELS.items()}
    wanted = {**_of_splits(names), **PANELS, **found}
    panels = []
    for title, labels in wanted.items():
        there = {name: label for name, label in labels.items() if name in names}
        if there:
            percent = all(is_share(name, known) for name in there)
            scale = 100 if percent else 1
            curves = {
                label: [(r.get("epoch", float(i)) + 1, scale * r[name]) for i, r in enumerate(records) if name in r]
                for name, label in there.items()
            }
            panels.append(Panel(f"{title} (%)" if percent else title, curves))
    return panels


def curves_figure(history: Sequence[Record]) -> Figure:
    """`panels_of` the records, drawn.

    Raises:
        Refused: the records hold none of these.
    """
    panels = panels_of(history)
    if not panels:
        raise Refused("the history holds no numbers that could be drawn")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(3.3 * columns, 2.5 * rows), layout="constrained")
        for index, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, index + 1, label=panel.title)
            for colour, (label, points) in zip(SERIES * len(panel.curves), panel.curves.items(), strict=False):
                x, y = zip(*points, strict=True)
                marker = "o" if len(history) < 15 else None
                axes.plot(x, y, label=label, color=colour, linewidth=1.6, marker=marker, markersize=3)
            scale = axis([value for points in panel.curves.values() for _, value in points])
            axes.set_ylim(scale.low, scale.high)
            axes.set_yticks(scale.ticks, scale.labels)
            axes.set_title(panel.title, loc="left", weight="bold")
            axes.grid(axis="y", color=FAINT, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            if index >= len(panels) - columns:
                axes.set_xlabel("epoch")
            if not panel.plain:
                axes.legend(frameon=False, fontsize=7.5)
    return figure


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _of_splits(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """A panel for the loss and each metric, with a curve for every part of the data."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        split, what = parts(name)
        if split:
            found.setdefault(words(what), {})[name] = SPLITS[split]
    return found


def _of_groups(names: Iterable[str], start: str, end: str) -> dict[str, str]:
    """Flat name -> the group's name in it; what no font and no file can hold is shown as ``\\ud800``."""
    return {
        name: name.removeprefix(start).removesuffix(end).encode("utf-8", "backslashreplace").decode()
        for name in sorted(names)
        if name.startswith(start) and name.endswith(end)
    }
