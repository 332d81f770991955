"""Landscapes: losses over planes as contours, and along each plane's axes as curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter

from poise.diagnostics.diagnostic import Surface
from poise.errors import Refused
from poise.report.style import FAINT, INK, RC, SERIES, VERMILION

LEVELS = 12


def landscape_figure(surfaces: Sequence[Surface]) -> Figure:
    """A panel of contours per surface, all with one scale of colours, and one with the losses along their axes.

    Axes are in units of the alphas: the distance from where they are. What is not finite stays white.

    Raises:
        Refused: there is no finite loss to draw.
    """
    grids = [np.array(surface.losses, dtype=float) for surface in surfaces]
    finite = [value for grid in grids for value in grid[np.isfinite(grid)].tolist()]
    if not finite:
        raise Refused("a landscape without a finite loss cannot be drawn")
    low, high = min(finite), max(finite)
    if high - low < 1e-12 * max(abs(high), 1):
        high = low + max(abs(low), 1) * 1e-6  # flat: contours need a range
    levels = np.linspace(low, high, LEVELS + 1)
    with mpl.rc_context(RC):
        figure = Figure(figsize=(3.5 * len(surfaces) + 3.9, 3.3), layout="constrained")
        panels = figure.subplots(1, len(surfaces) + 1, squeeze=False)[0]
        for axes, surface, grid in zip(panels, surfaces, grids, strict=False):
            drawn = _contours(axes, surface, grid, levels)
        bar = figure.colorbar(drawn, ax=list(panels[: len(surfaces)]), pad=0.02, aspect=24)
        bar.set_label("search loss")
        bar.ax.tick_params(labelsize=8)
        bar.ax.yaxis.set_major_formatter(FormatStrFormatter("%.4g"))
        bar.outline.set_visible(False)
        _slices(panels[-1], surfaces)
    return figure


def _contours(axes: Axes, surface: Surface, grid: np.ndarray, levels: np.ndarray) -> QuadContourSet:
    # ``losses[i][j]`` has step i along the first axis, which is drawn to the right.
    shown = np.ma.masked_invalid(grid.T)
    drawn = axes.contourf(surface.steps, surface.steps, shown, levels=levels, cmap="Blues", extend="neither")
    axes.contour(surface.steps, surface.steps, shown, levels=levels, colors="white", linewidths=0.5)
    axes.plot(0, 0, marker="o", markersize=5, color=VERMILION, markeredgecolor="white")
    axes.annotate("α", (0, 0), (5, 4), textcoords="offset points", color=INK, weight="bold")
    axes.set_title(surface.title, loc="left", weight="bold")
    axes.set_xlabel(surface.axes[0])
    axes.set_ylabel(surface.axes[1])
    axes.set_aspect("equal")
    return drawn


def _slices(axes: Axes, surfaces: Sequence[Surface]) -> None:
    colours = iter(SERIES * len(surfaces))
    for surface in surfaces:
        for label, losses in zip(surface.axes, surface.slices, strict=True):
            values = [value if math.isfinite(value) else math.nan for value in losses]
            axes.plot(
                surface.steps, values, label=label.split(",")[0], color=next(colours), linewidth=1.6, marker="o",
                markersize=2.5,
            )  # fmt: skip
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.set_title("search loss along the axes", loc="left", weight="bold")
    axes.set_xlabel("distance from α")
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.legend(frameon=False, fontsize=7.5)
