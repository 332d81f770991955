"""A bench as tables: the terminal, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from poise.bench.judge import Standing
from poise.bench.statistics import OneSided
from poise.genotype import Genotype
from poise.report.tables import rows_table
from poise.truth.table import Table as Truth

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
    "p chance": lambda s: "< 0.0001" if s.against_chance < 1e-4 else f"{s.against_chance:.4f}",
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


def _p(test: OneSided | None) -> str:
    """A p value, and the smallest that so few runs could give where it is that one."""
    if test is None:
        return "–"
    return f"{test.p:.3f}" + (" (least)" if test.p <= test.least * (1 + 1e-9) else "")


def shown_columns(standings: Sequence[Standing]) -> dict[str, Cell]:
    """Columns in which anything stands, the other metrics of the table after them."""
    checks = [
        (name, lambda s, name=name: f"{s.checks[name]:.2f}") for name in (standings[0].checks if standings else ())
    ]
    columns = [*COLUMNS.items(), *checks]
    return {head: cell for head, cell in columns if any(cell(standing) != "–" for standing in standings)}


def standings_table(standings: Sequence[Standing]) -> Group:
    """For the terminal, which is narrow: two tables, and what they leave out stands in the files."""
    columns = shown_columns(standings)
    return Group(
        *(
            rows_table(table_rows(standings, {head: columns[head] for head in part if head in columns}), WORDS)
            for part in TERMINAL
        )
    )


def table_rows(standings: Sequence[Standing], columns: Mapping[str, Cell]) -> Rows:
    """Head, and a row per contestant."""
    return [list(columns), *([cell(standing) for cell in columns.values()] for standing in standings)]


def rows_markdown(rows: Rows) -> str:
    """As a Markdown table."""
    line = ["---" if head in WORDS else "---:" for head in rows[0]]
    cells = [rows[0], line, *([text.replace("|", "\\|") for text in row] for row in rows[1:])]
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def query_table(truth: Truth, architecture: Genotype | str) -> Table:
    """Everything that a table knows of one architecture, a genotype or a text that the table can read."""
    rows = [("metric", "value", "rank", "percentile", "best")]
    for name, value in truth.lookup(architecture).items():
        rank = f"{truth.rank(architecture, name):,} of {len(truth):,}"
        percentile, best = truth.percentile(architecture, name), truth.best_value(name)
        rows.append((name, f"{value:.2f}", rank, f"{percentile:.1f}", f"{best:.2f}"))
    table = rows_table(rows, ("metric",))
    if truth.space == "nasbench201":
        table.add_section()
        genotype = truth.genotype(truth.position(architecture))
        table.add_row(Text("equivalent cells, itself included"), Text(f"{len(truth.equivalents(genotype)):,}"))
    return table


def standings_markdown(standings: Sequence[Standing]) -> str:
    """As a Markdown table."""
    return rows_markdown(table_rows(standings, shown_columns(standings)))


def standings_dict(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """As plain values, every seed with its curve."""
    return [
        {
            "contestant": s.contestant,
            "selection": s.selection,
            **asdict(s.summary),
            "interval": s.interval,
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
