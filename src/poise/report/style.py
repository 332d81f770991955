"""How every figure looks and is written: a colour-blind-safe palette, text that stays text, the same bytes twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

INK = "#24292f"
LINE = "#8b949e"
FAINT = "#d0d7de"
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"
"""Okabe and Ito's palette, which people with any colour vision can tell apart."""

SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "poise",
}

_FAMILIES = (
    ("skip", GREEN),
    ("identity", GREEN),
    ("max_pool", ORANGE),
    ("avg_pool", VERMILION),
    ("pool", ORANGE),
    ("dil_conv", SKY),
    ("conv", BLUE),
)


def family(operation: str) -> str:
    """An operation's family by name: ``conv``, ``dil_conv``, ``max_pool``, ``skip``, ``other`` …"""
    return next((part for part, _ in _FAMILIES if part in operation), "other")


def family_colour(operation: str) -> str:
    """The colour of an operation's family: convolutions blue, pools orange, skips green, anything else purple."""
    return next((colour for part, colour in _FAMILIES if part in operation), PURPLE)


def text_width(text: str, size: float = 9) -> float:
    """The width of a text in inches."""
    return float(TextPath((0, 0), text or " ", size=size).get_extents().width) / 72


def save_figure(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write ``stem.svg`` and ``stem.png``; the same figure gives the same bytes. The folder is made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}.svg", folder / f"{stem}.png"]
    with mpl.rc_context(RC):
        figure.savefig(files[0], metadata={"Date": None, "Creator": None})
        figure.savefig(files[1], dpi=200, metadata={"Software": None})
    return files
