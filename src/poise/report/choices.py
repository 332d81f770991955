"""Choices that are no cell, drawn as rows of labels: what was chosen in colour, what was not in grey."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from poise.genotype import Genotype
from poise.report.style import FAINT, INK, LINE, family_colour, text_width
from poise.supernet.groups import ChoiceGroup

LANE, PILL, TITLE = 0.4, 0.26, 0.42
"""Inches: the height of a line, of a label, of a title."""


def draw_pill(axes: Axes, right: float, y: float, text: str, colour: str, strong: bool = True) -> None:
    """A label that ends at ``right``: tinted, with a border of its colour. A weak one is grey."""
    width = text_width(text) + 0.16
    box = FancyBboxPatch(
        (right - width, y - PILL / 2), width, PILL, boxstyle="round,pad=0,rounding_size=0.08", zorder=3
    )
    tint = mpl.colors.to_rgb(colour)
    box.set(edgecolor=colour, facecolor=[1 - (1 - part) * 0.16 for part in tint] if strong else "white", linewidth=1.2)
    axes.add_patch(box)
    ink = INK if strong else LINE
    axes.text(right - width / 2, y - 0.005, text, ha="center", va="center_baseline", color=ink, zorder=4)


def choice_rows(groups: Sequence[ChoiceGroup]) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(group, row, label, candidates) of every choice."""
    return [
        (group.name, row.name, group.name if len(group.rows) == 1 else f"{group.name} {row.name}", row.candidates)
        for group in groups
        for row in group.rows
    ]


def choices_size(groups: Sequence[ChoiceGroup]) -> tuple[float, float]:
    """Width and height of `draw_choices` in inches."""
    rows = choice_rows(groups)
    chips = max(sum(text_width(name) + 0.32 for name in candidates) for *_, candidates in rows)
    return max(text_width(label) for _, _, label, _ in rows) + 0.3 + chips, TITLE + LANE * len(rows)


def draw_choices(axes: Axes, genotype: Genotype, groups: Sequence[ChoiceGroup]) -> None:
    """One line per choice: its name, then its candidates, those kept in colour."""
    rows = choice_rows(groups)
    axes.text(0, 0, "choices", fontsize=11, weight="bold", va="top")
    start = max(text_width(label) for _, _, label, _ in rows) + 0.3
    for index, (group, row, label, candidates) in enumerate(rows):
        y = -TITLE - LANE * (index + 0.5)
        axes.text(0, y, label, va="center")
        kept = genotype.choices.get(group, {}).get(row, ())
        right = start
        for name in candidates:
            right += text_width(name) + 0.16
            draw_pill(axes, right, y, name, family_colour(name) if name in kept else FAINT, name in kept)
            right += 0.16
