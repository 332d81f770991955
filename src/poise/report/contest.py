"""A bench as tables and figures: the terminal, Markdown, JSON, and curves that a paper could print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from poise.bench.judge import Judged, Standing
from poise.bench.table import Table as Truth
from poise.errors import Refused
from poise.genotype import Genotype
from poise.report.curves import flatten
from poise.report.style import FAINT, LINE, RC, SERIES

Cell = Callable[[Standing], str]
Rows = Sequence[Sequence[str]]
"""Text by row and column; the first row is the head."""
WORDS = ("contestant", "seeds", "guard", "indicator")
"""Heads of columns that hold words."""

COLUMNS: Mapping[str, Cell] = {
    "contestant": lambda s: s.label,
    "seeds": lambda s: ", ".join(f"{run.value:.2f}" for run in s.runs),
    "mean ± std": lambda s: f"{s.summary.mean:.2f} ± {_or_dash(s.summary.std)}",
    "95 %": lambda s: "–" if s.interval is None else f"{s.interval.low:.2f} to {s.interval.high:.2f}",
    "median": lambda s: f"{s.summary.median:.2f}",
    "best": lambda s: f"{s.summary.best:.2f}",
    "worst": lambda s: f"{s.summary.worst:.2f}",
    "once held": lambda s: _or_dash(s.best_epoch),
    "regret": lambda s: f"{np.mean([run.regret for run in s.runs]):.2f}",
    "percentile": lambda s: f"{np.mean([run.percentile for run in s.runs]):.1f}",
    "p DARTS": lambda s: _p(s.against_base),
    "p random": lambda s: _p(s.against_random),
    "p chance": lambda s: f"{s.against_chance:.4f}",
    "tau": lambda s: _or_dash(s.tau),
    "seconds": lambda s: f"{s.seconds:.0f}",
    "published": lambda s: "–" if s.published is None else f"{s.published[0]:.2f}",
}
"""Head -> what stands below it."""

TERMINAL = (
    ("contestant", "mean ± std", "worst", "once held", "p DARTS", "p random", "tau", "seconds"),
    ("contestant", "seeds", "95 %", "regret", "percentile"),
)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _p(test: tuple[float, float] | None) -> str:
    """A p value, and the smallest that so few runs could give where it is that one."""
    if test is None:
        return "–"
    return f"{test[0]:.3f}" + (" (least)" if test[0] <= test[1] * (1 + 1e-9) else "")


def _shown(standings: Sequence[Standing]) -> list[tuple[str, Cell]]:
    """Columns in which anything stands, the other metrics of the table after them."""
    checks = [
        (name, lambda s, name=name: f"{s.checks[name]:.2f}") for name in (standings[0].checks if standings else ())
    ]
    columns = [*COLUMNS.items(), *checks]
    return [(head, cell) for head, cell in columns if any(cell(standing) != "–" for standing in standings)]


def contest_table(standings: Sequence[Standing]) -> Group:
    """For the terminal, which is narrow: two tables, and what they leave out stands in the files."""
    columns = dict(_shown(standings))
    return Group(
        *(rows_table(_rows(standings, {head: columns[head] for head in part if head in columns})) for part in TERMINAL)
    )


def _rows(standings: Sequence[Standing], columns: Mapping[str, Cell]) -> Rows:
    return [list(columns), *([cell(standing) for cell in columns.values()] for standing in standings)]


def rows_table(rows: Rows) -> Table:
    """For the terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in rows[0]:
        table.add_column(head, justify="left" if head in WORDS else "right")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return table


def rows_markdown(rows: Rows) -> str:
    """As a Markdown table."""
    line = ["---" if head in WORDS else "---:" for head in rows[0]]
    cells = [rows[0], line, *([text.replace("|", "\\|") for text in row] for row in rows[1:])]
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def query_table(truth: Truth, genotype: Genotype) -> Table:
    """Everything that a table knows of one architecture."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("metric", "value", "rank", "percentile", "best"):
        table.add_column(head, justify="left" if head == "metric" else "right")
    for name, value in truth.lookup(genotype).items():
        best = truth.best(name).value
        rank = f"{truth.rank(genotype, name):,} of {len(truth):,}"
        numbers = (f"{value:.2f}", rank, f"{truth.percentile(genotype, name):.1f}", f"{best:.2f}")
        table.add_row(Text(name), *map(Text, numbers))
    if truth.space == "nasbench201":
        table.add_section()
        table.add_row(Text("equivalent cells, itself included"), Text(f"{len(truth.equivalents(genotype)):,}"))
    return table


def contest_markdown(standings: Sequence[Standing]) -> str:
    """As a Markdown table."""
    return rows_markdown(_rows(standings, dict(_shown(standings))))


def contest_dict(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """As plain values, every seed with its curve."""
    return [
        {
            "contestant": s.contestant,
            "selection": s.selection,
            "mean": s.summary.mean,
            "std": s.summary.std,
            "median": s.summary.median,
            "best": s.summary.best,
            "worst": s.summary.worst,
            "interval": None if s.interval is None else [s.interval.low, s.interval.high],
            "seconds": s.seconds,
            "tau": s.tau,
            "p_darts": s.against_base,
            "p_random": s.against_random,
            "p_chance": s.against_chance,
            "checks": dict(s.checks),
            "runs": [
                {
                    "seed": run.result.seed, "value": run.value, "regret": run.regret, "percentile": run.percentile,
                    "tau": run.tau, "seconds": dict(run.result.seconds), "curve": list(run.curve),
                    "genotype": run.result.genotype.to_dict(),
                }
                for run in s.runs
            ],
        }
        for s in standings
    ]  # fmt: skip


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
