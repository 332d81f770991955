"""The page of a bench: who stands where, how sure that is, and how the searches went."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from poise.bench.anytime import stretched
from poise.bench.bench_folder import Bench
from poise.bench.judge import Standing
from poise.bench.protocol import Protocol
from poise.bench.standings import COLUMNS, Rows, shown_columns, table_rows
from poise.report.page import (
    Block,
    Downloads,
    Drawing,
    Fact,
    Grid,
    Page,
    Paragraph,
    Section,
    Strip,
    Strips,
)
from poise.report.render import data_link
from poise.workflow.sentences import command

VALUES = ("contestant", "mean ± std", "95 %", "median", "best", "worst", "once held", "regret", "percentile", "seconds")
TESTS = ("contestant", "p DARTS", "p random", "p chance", "tau", "published")
"""Columns of the two tables; what else the truth knows comes after the first."""
MEANING = {
    "p DARTS": "p DARTS: that its seeds are no better than those of DARTS, seed by seed",
    "p random": "p random: the same against random search that had as much time",
    "p chance": "p chance: that as many random architectures would do as well",
    "tau": "tau: how far the supernet ranks architectures as the truth does",
}


def bench_page(
    folder: Path,
    bench: Bench,
    rules: Protocol,
    found: Sequence[Standing],
    more: Mapping[str, Rows],
    figure: Path | None,
    best: float,
    missing: int,
) -> Page:
    """Everything that a bench says by now.

    Args:
        folder: of the bench.
        bench: what was asked for.
        rules: its protocol.
        found: the standings, the best first.
        more: further tables by their headings; empty ones are left out.
        figure: the anytime curves, as SVG.
        best: the best value that the truth knows.
        missing: how many results there are not yet.
    """
    columns = shown_columns(found)
    checks = tuple(name for name in columns if name not in COLUMNS)
    values, tests = (
        table_rows(found, {name: columns[name] for name in names if name in columns})
        for names in ((*VALUES, *checks), TESTS)
    )
    tested = [MEANING[name] for name in tests[0] if name in MEANING]
    sections = [
        Section("Standings", [strips(found, best, rules), Grid(values[1:], values[0], numbers=True)]),
        Section("Tests", [Grid(tests[1:], tests[0], numbers=True), Paragraph(f"{'; '.join(tested)}.")]),
    ]
    if figure is not None:
        caption = "What would be taken after each epoch, mean and range over seeds; below, what could be seen then."
        sections.append(Section("Any time", [Drawing(figure, caption)]))
    sections += [Section(title, [Grid(rows[1:], rows[0], numbers=True)]) for title, rows in more.items() if rows]
    details: list[Block] = [Grid(list(_about(bench, rules).items()))]
    files = {
        name: data_link((folder / name).read_bytes(), kind)
        for name, kind in (("report.json", "application/json"), ("report.md", "text/markdown"))
        if (folder / name).is_file() and (folder / name).stat().st_size < 400_000
    }
    runs = sum(len(standing.runs) for standing in found)
    return Page(
        title=folder.absolute().name,
        what="bench",
        sentence=_sentence(found, rules),
        state="stopped" if missing else "finished",
        progress=f"{runs} of {runs + missing} results." if missing else f"{runs} results.",
        facts=_facts(found, best),
        commands=[("Run what is missing", command("resume", folder))] if missing else [],
        sections=[*sections, Section("Details", [*details, Downloads(files)])],
        written=time.time(),
    )


def strips(found: Sequence[Standing], best: float, rules: Protocol) -> Strips:
    """Every seed of every contestant as a dot, with the interval of the mean."""
    scale = stretched(min(run.value for standing in found for run in standing.runs), best)
    rows = []
    for standing in found:
        interval = standing.interval
        rows.append(
            Strip(
                standing.label,
                [scale.place(run.value) for run in standing.runs],
                None if interval is None else (scale.place(interval.low), scale.place(interval.high)),
                f"{standing.summary.mean:.2f}",
                f"seeds: {', '.join(f'{run.value:.2f}' for run in standing.runs)}",
            )
        )
    ticks = [(scale.place(tick), f"{tick + 0.0:g}") for tick in scale.ticks]
    return Strips(rows, ticks, f"{rules.title}: a dot per seed, the 95% interval of the mean, and the mean.")


def _sentence(found: Sequence[Standing], rules: Protocol) -> str:
    first = found[0]
    count = len(first.runs)
    seeds = f"{count} seed{'' if count == 1 else 's'}"
    text = (
        f"Of {len(found)} contestants on {rules.name}, {first.label} comes first: {first.summary.mean:.2f} on average "
    )
    text += f"over {seeds}"
    if first.interval is not None:
        text += f" (95%: {first.interval.low:.2f} to {first.interval.high:.2f})"
    if len(found) > 1:
        text += f"; {found[1].label} follows with {found[1].summary.mean:.2f}"
    return f"{text}. {rules.title}."


def _facts(found: Sequence[Standing], best: float) -> list[Fact]:
    first = found[0]
    seeds = {len(standing.runs) for standing in found}
    facts = [
        Fact("first", f"{first.summary.mean:.2f}", first.label),
        Fact("its worst seed", f"{first.summary.worst:.2f}", f"best {first.summary.best:.2f}"),
        Fact("best there is", f"{best:.2f}", "of the table"),
        Fact("seeds", f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}", "per contestant"),
    ]
    if first.against_random is not None:
        note = f"equal time, one-sided, {len(first.runs)} seeds"
        facts.insert(2, Fact("against random search", f"p = {first.against_random.p:.3g}", note))
    return facts


def _about(bench: Bench, rules: Protocol) -> dict[str, str]:
    where = {"data": Path(bench.data).name, "device": bench.device, "precision": bench.precision}
    table = "that comes with poise" if bench.table is None else Path(bench.table).name
    return {"protocol": rules.name, "about": rules.about, "space": rules.space, **where, "table": table}
