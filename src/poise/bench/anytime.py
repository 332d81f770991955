"""A bench as curves that a paper could print: what would be taken after each epoch, and what could be seen then."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from poise.bench.judge import Judged, Standing
from poise.errors import Refused
from poise.report.curves import flatten
from poise.report.style import FAINT, LINE, RC, SERIES

BEYOND = 0.5
"""The value axis is logarithmic in the distance to a point so far above the best."""
STEPS = (50, 20, 10, 5, 2, 1, 0.5)
"""Round numbers that ticks are multiples of, the rounder first."""
FINEST = 20
"""A tick's distance to the top is at most so many of its steps: 93.5 is a tick, 75.5 is not."""
GAP = 0.055
"""The least distance of two ticks, as a share of the axis."""

PANELS = {
    "layer alignment": r"alignment/train",
    "skip share": r"skip_share",
    "dominant eigenvalue": r"eigenvalue",
    "mixture entropy (nats)": r"mixture/.*/entropy",
}
"""Title -> the numbers of an epoch's record, by their flat names; the mean of them is drawn."""


def anytime_figure(standings: Sequence[Standing], title: str, median: float, best: float) -> Figure:
    """The true value of what would be taken after each epoch, mean and range over seeds; below it, on the same epochs,
    what could be seen without ground truth.

    Raises:
        Refused: no contestant has epochs.
    """
    shown: dict[str, Sequence[Judged]] = {}
    for standing in standings:
        if all(run.result.epochs for run in standing.runs):
            shown.setdefault(standing.contestant, standing.runs)
    if not shown:
        raise Refused("no contestant of this bench has epochs to draw")
    with mpl.rc_context(RC):
        figure = Figure(figsize=(9.6, 6.4), layout="constrained")
        grid = figure.add_gridspec(2, len(PANELS), height_ratios=(1.7, 1))
        top = figure.add_subplot(grid[0, :], label="truth")
        for colour, (name, runs) in zip(_colours(len(shown)), shown.items(), strict=True):
            _band(top, [run.curve for run in runs], colour, f"{name} (n = {len(runs)})")
        lowest = min(value for runs in shown.values() for run in runs for value in run.curve)
        _stretch_the_top(top, min(lowest, median), best)
        for value, text in ((median, "median of the table"), (best, "best of the table")):
            top.axhline(value, color=LINE, linewidth=0.8, linestyle=":")
            top.annotate(text, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
        top.set_title(f"{title} of the architecture that would be taken", loc="left", weight="bold")
        top.legend(frameon=False, fontsize=7.5, ncols=2, loc="lower left")
        for column, (name, pattern) in enumerate(PANELS.items()):
            axes = figure.add_subplot(grid[1, column], label=name)
            axes.ticklabel_format(axis="y", useOffset=False)
            for colour, runs in zip(_colours(len(shown)), shown.values(), strict=True):
                curves = [list(map(number_of(pattern), run.result.epochs)) for run in runs]
                if not np.isnan(curves[0]).all():
                    _band(axes, curves, colour, "")
            axes.set_title(name, loc="left", fontsize=8.5)
        for axes in figure.axes:
            axes.grid(axis="y", color=FAINT, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
            axes.set_xlabel("epoch")
    return figure


@dataclass(frozen=True)
class Stretched:
    """An axis on which methods that differ by tenths near the best and by tens when they collapse both show: equal
    ratios of the distance to just above the best, ``end``, become equal lengths; from ``low`` to ``high``."""

    end: float
    low: float
    high: float
    ticks: tuple[float, ...]

    def forward(self, values: Any) -> Any:
        """Values -> lengths."""
        return -np.log10(np.maximum(self.end - np.asarray(values), 1e-3))

    def inverse(self, values: Any) -> Any:
        """Lengths -> values."""
        return self.end - 10.0 ** -np.asarray(values)

    def place(self, value: float) -> float:
        """Where a value lies: 0 at ``low``, 1 at ``high``."""
        low, high = self.forward(self.low), self.forward(self.high)
        return float((self.forward(value) - low) / (high - low))


def stretched(lowest: float, best: float) -> Stretched:
    """The axis from the lowest value that is shown to the best that there is."""
    lowest = min(lowest, best - 1)
    found = Stretched(best + BEYOND, lowest, best, ())
    low, high = (float(found.forward(value)) for value in (lowest, best))
    margin = 0.05 * (high - low)
    limits = [float(found.inverse(value)) for value in (low - margin, high + margin)]
    chosen: list[float] = []
    for step in STEPS:
        for value in np.arange(np.ceil(limits[0] / step), np.floor(best / step) + 1) * step:
            place = float(found.forward(value))
            gap = min((abs(place - float(found.forward(other))) for other in chosen), default=np.inf)
            if found.end - value <= FINEST * step and gap >= GAP * (high - low):
                chosen.append(float(value))
    return Stretched(found.end, limits[0], limits[1], tuple(sorted(chosen)))


def _stretch_the_top(axes: Axes, lowest: float, best: float) -> None:
    scale = stretched(lowest, best)
    axes.set_yscale("function", functions=(scale.forward, scale.inverse))
    axes.set_ylim(scale.low, scale.high)
    axes.set_yticks(scale.ticks, [f"{value or 0:g}" for value in scale.ticks])
    axes.minorticks_off()


def number_of(pattern: str) -> Callable[[Mapping[str, Any]], float]:
    """Record of an epoch -> the mean of its numbers of these flat names; not a number where there are none."""

    def number(record: Mapping[str, Any]) -> float:
        found = [value for name, value in flatten(record).items() if re.fullmatch(pattern, name)]
        return float(np.mean(found)) if found else float("nan")

    return number


def _colours(count: int) -> Iterable[Any]:
    """As many colours as there are curves; beyond the palette grey shades."""
    greys = [str(round(0.25 + 0.5 * number / max(count, 1), 2)) for number in range(max(count - len(SERIES), 0))]
    return [*SERIES[:count], *greys]


def _band(axes: Axes, curves: Sequence[Sequence[float]], colour: Any, label: str) -> None:
    """Mean and range of curves, as far as the shortest goes; the first epoch is 1."""
    length = min(map(len, curves))
    values = np.array([curve[:length] for curve in curves], dtype=float)
    epochs = np.arange(1, length + 1)
    axes.plot(epochs, values.mean(axis=0), color=colour, linewidth=1.7, label=label, marker="o", markersize=2.5)
    axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.13, linewidth=0)
