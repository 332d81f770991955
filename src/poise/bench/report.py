"""The report of a bench: its results against ground truth, as files and as a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poise.bench.anytime import anytime_figure
from poise.bench.bench_folder import missing, read_bench, results_of, truth_of
from poise.bench.guarding import guard_dict, guard_rows, indicator_rows
from poise.bench.inside import inside_rows
from poise.bench.judge import Standing, standings
from poise.bench.page import bench_page
from poise.bench.protocol import protocol
from poise.bench.standings import rows_markdown, standings_dict, standings_markdown
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.report.page import FILE
from poise.report.style import save_figure


@dataclass(frozen=True)
class Report:
    """What a bench found, the files that hold it, and how many results it still lacks."""

    standings: Sequence[Standing]
    files: tuple[Path, ...]
    missing: int


def report(folder: Path, table: str | Path | None = None) -> Report:
    """Judge what the bench in this folder has found so far, and write ``report.html``, ``report.md``,
    ``report.json`` and figures.

    Args:
        folder: of the bench.
        table: ground truth; default: the one that the bench was started with, or else the one that comes with poise.

    Raises:
        Refused: there is no bench, no result yet, or no table of its space.
    """
    bench = read_bench(folder)
    rules = protocol(bench.protocol)
    truth = truth_of(bench, table)
    results = results_of(folder)
    if not results:
        raise Refused(f"the bench at {folder} has no results yet")
    found = standings(results, truth, rules)
    run = RunFolder(folder)
    more = {
        "Without ground truth": inside_rows(found),
        "Guards": guard_rows(found),
        "Indicators": indicator_rows(found),
    }
    tables = [standings_markdown(found), *(rows_markdown(rows) for rows in more.values() if rows)]
    files = [
        run.write("report.md", "\n".join(tables)),
        run.write("report.json", json.dumps({"standings": standings_dict(found)} | guard_dict(found), indent=1)),
    ]
    best, figures = truth.best(rules.metric).value, list[Path]()
    if any(all(each.result.epochs for each in standing.runs) for standing in found):
        figure = anytime_figure(found, rules.title, truth.quantile(rules.metric, 0.5), best)
        figures = save_figure(figure, folder / "figures", "anytime")
    lacking = sum(len(missing(job, folder)) for job in bench.jobs(folder))
    page = bench_page(folder, bench, rules, found, more, figures[0] if figures else None, best, lacking)
    files += [*figures, run.write(FILE, page.html())]
    return Report(found, tuple(files), lacking)
