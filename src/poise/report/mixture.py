"""Mixtures as heat maps: how much of each candidate every choice uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from poise.errors import Refused
from poise.report.style import INK, RC, text_width
from poise.supernet.groups import ChoiceGroup

CELL, WIDE, HEADER, TITLE, MARGIN = 0.26, 0.44, 0.95, 0.3, 0.2
"""Inches: a heat map's row and column, its column names, its title, the space around it."""


def mixture_figure(probabilities: Mapping[str, Tensor], groups: Sequence[ChoiceGroup]) -> Figure:
    """One heat map per group, two beside each other, from 0 (white) to 1 (dark); the numbers stand in it.

    Args:
        probabilities: group -> ``[rows, candidates]``.
        groups: the groups to show.

    Raises:
        Refused: a group has no probabilities, or they have another shape.
    """
    for group in groups:
        shape = tuple(probabilities[group.name].shape) if group.name in probabilities else None
        if shape != group.shape:
            raise Refused(f"group {group.name!r} needs probabilities of shape {group.shape}, got {shape}")
    with mpl.rc_context(RC):
        left = max(text_width(row.name) for group in groups for row in group.rows) + 0.15
        # slanted column names reach beyond the last column by about their height
        width = max(group.shape[1] * _column(group) + _header(group) for group in groups) + left + MARGIN
        lines = [groups[index : index + 2] for index in range(0, len(groups), 2)]
        heights = [max(_height(group) for group in line) for line in lines]
        size = width * min(2, len(groups)) + MARGIN, sum(heights)
        figure = Figure(figsize=size)
        top = size[1]
        for line, height in zip(lines, heights, strict=True):
            for index, group in enumerate(line):
                rows, columns = group.shape
                box = (
                    width * index + MARGIN + left,
                    top - TITLE - _header(group) - rows * CELL,
                    columns * _column(group),
                    rows * CELL,
                )
                axes = figure.add_axes(
                    (box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]), label=group.name
                )
                _draw(axes, probabilities[group.name].detach().cpu(), group)
            top -= height
    return figure


def _shared(group: ChoiceGroup) -> bool:
    """Whether every row has the same candidates, so that they can head the columns."""
    return len({row.candidates for row in group.rows}) == 1


def _column(group: ChoiceGroup) -> float:
    if _shared(group):
        return WIDE
    return max(text_width(f"{name} 0.00", 7) for row in group.rows for name in row.candidates) + 0.16


def _header(group: ChoiceGroup) -> float:
    return max(text_width(name) * 0.72 for name in group.rows[0].candidates) + 0.16 if _shared(group) else 0.05


def _height(group: ChoiceGroup) -> float:
    return TITLE + _header(group) + len(group.rows) * CELL + MARGIN


def _draw(axes: Axes, values: Tensor, group: ChoiceGroup) -> None:
    axes.imshow(values.double().numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    rows, columns = group.shape
    axes.set_yticks(range(rows), [row.name for row in group.rows])
    axes.tick_params(length=0, pad=3)
    if _shared(group):
        axes.set_xticks(range(columns), list(group.rows[0].candidates))
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", labelrotation=45, pad=0)
        for label in axes.get_xticklabels():
            label.set(ha="left", rotation_mode="anchor")
    else:
        axes.set_xticks([])
    axes.set_title(group.name, fontsize=11, weight="bold", loc="left", pad=_header(group) * 72)
    axes.spines[:].set_visible(False)
    axes.set_xticks([column - 0.5 for column in range(1, columns)], minor=True)
    axes.set_yticks([row - 0.5 for row in range(1, rows)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for index, row in enumerate(group.rows):
        for column, (name, value) in enumerate(zip(row.candidates, values[index].tolist(), strict=True)):
            text = f"{value:.2f}" if _shared(group) else f"{name} {value:.2f}"
            ink = "white" if value > 0.6 else INK
            axes.text(column, index, text, ha="center", va="center_baseline", fontsize=7, color=ink)
