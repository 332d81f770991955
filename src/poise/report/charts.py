"""Curves as a page draws them: places in a chart, and the numbers to be read off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poise.report.axis import axis, epochs_axis
from poise.report.curves import Panel

WIDTH, HEIGHT, TOP, RIGHT, BOTTOM = 340, 200, 10, 12, 26
"""Of a chart, and around what is drawn in it."""
LETTER = 7.0
"""About the width of a digit."""
MOST_ROWS = 200
"""Epochs of a table of numbers; of more, so many are shown."""


@dataclass(frozen=True)
class Tick:
    """Where a line or a label is, and the label."""

    place: float
    label: str


@dataclass(frozen=True)
class Series:
    """A curve: its label, its path, and its points if they are few."""

    label: str
    path: str
    dots: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart of ``width × height``.

    Args:
        title: with the unit.
        left: where what is drawn begins.
        across, down: ticks of epochs, and of values.
        series: the curves.
        legend: whether they have to be named.
        about: what it shows, in words.
        data: what a script reads off: the places of epochs, and for every curve its places and values.
    """

    title: str
    left: float
    across: Sequence[Tick]
    down: Sequence[Tick]
    series: Sequence[Series]
    legend: bool
    about: str
    data: dict[str, Any]
    width: int = WIDTH
    height: int = HEIGHT
    top: int = TOP
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def charts(panels: Sequence[Panel]) -> list[Chart]:
    """A chart per panel; all go from the first to the last epoch of any."""
    epochs = [epoch for panel in panels for points in panel.curves.values() for epoch, _ in points]
    return [_chart(panel, round(min(epochs)), round(max(epochs))) for panel in panels]


def _chart(panel: Panel, first: int, last: int) -> Chart:
    scale = axis([value for points in panel.curves.values() for _, value in points])
    time = epochs_axis(first, last)
    left = 12 + LETTER * max(map(len, scale.labels))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(epoch: float) -> float:
        return round(left + time.place(epoch) * (right - left), 1)

    def y(value: float) -> float:
        return round(bottom - scale.place(value) * (bottom - TOP), 1)

    numbers = sorted({epoch for points in panel.curves.values() for epoch, _ in points})
    series, read = [], []
    for label, points in panel.curves.items():
        places = [(x(epoch), y(value)) for epoch, value in points]
        path = "M" + "L".join(f"{across} {down}" for across, down in places)
        series.append(Series(label, path, places if len(places) < 15 else ()))
        values = dict(points)
        read.append(
            {
                "label": label,
                "y": [y(values[n]) if n in values else None for n in numbers],
                "text": [number_text(values[n], panel) if n in values else None for n in numbers],
            }
        )
    return Chart(
        panel.title, left,
        [Tick(x(tick), text) for tick, text in zip(time.ticks, time.labels, strict=True)],
        [Tick(y(tick), text) for tick, text in zip(scale.ticks, scale.labels, strict=True)],
        series, not panel.plain, _about(panel),
        {"x": [x(number) for number in numbers], "epochs": [round(number) for number in numbers], "series": read},
    )  # fmt: skip


def number_text(value: float, panel: Panel) -> str:
    """A value as a person reads it."""
    if panel.title.endswith("(%)"):
        return f"{value:.2f}%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}".replace("-", "−", 1)


def _about(panel: Panel) -> str:
    """The curves in words."""
    parts = []
    for label, points in panel.curves.items():
        (first, start), (last, end) = points[0], points[-1]
        to = "" if len(points) == 1 else f" to {number_text(end, panel)} after epoch {last:.0f}"
        parts.append(f"{label}: {number_text(start, panel)} after epoch {first:.0f}{to}")
    return f"{panel.title}. {'; '.join(parts)}."


def numbers_grid(panels: Sequence[Panel]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table with a row per epoch and a column per curve."""
    columns = [(panel, label, dict(points)) for panel in panels for label, points in panel.curves.items()]
    epochs = sorted({epoch for *_, points in columns for epoch in points})
    if len(epochs) > MOST_ROWS:
        epochs = [epochs[round(place * (len(epochs) - 1) / (MOST_ROWS - 1))] for place in range(MOST_ROWS)]
    head = ["epoch", *(panel.title if panel.plain else f"{panel.title}, {label}" for panel, label, _ in columns)]

    def cell(panel: Panel, points: dict[float, float], epoch: float) -> str:
        return number_text(points[epoch], panel) if epoch in points else "–"

    rows = [[f"{epoch:.0f}", *(cell(panel, points, epoch) for panel, _, points in columns)] for epoch in epochs]
    return head, rows
