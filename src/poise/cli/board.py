"""Many runs on the terminal: a live table of what runs, or a line for everything that ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poise.jobs.scheduler import Standing
from poise.report.readable_numbers import duration


class Board:
    """Told where every job stands."""

    def __init__(self, console: Console, *, terse: bool = False) -> None:
        self._console = console
        self._terse = terse
        live = console.is_terminal and not terse
        self._live = Live(console=console, refresh_per_second=2, transient=True) if live else None
        self._ended: set[str] = set()
        self._again: set[tuple[str, int]] = set()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, standings: Sequence[Standing]) -> None:
        for each in standings:
            if each.message and each.state == "waiting" and (each.command.name, each.attempts) not in self._again:
                self._again.add((each.command.name, each.attempts))
                self._print(f"tried again after {duration(each.seconds)}: {each.command.name}: {each.message}")
            if each.state in ("done", "failed") and each.attempts and each.command.name not in self._ended:
                self._ended.add(each.command.name)
                about = f": {each.message}" if each.message else ""
                self._print(f"{each.state} after {duration(each.seconds)}: {each.command.name}{about}")
        if self._live:
            self._live.update(table(standings))

    def _print(self, text: str) -> None:
        if not self._terse:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def table(standings: Sequence[Standing]) -> Table:
    """Contestants by seeds, and about how long the rest takes."""
    seeds = sorted({each.command.seed for each in standings})
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    found.add_column("contestant", style="bold")
    for seed in seeds:
        found.add_column(f"seed {seed}")
    rows: dict[str, dict[int, Standing]] = {}
    for each in standings:
        rows.setdefault(each.command.label, {})[each.command.seed] = each
    for name, by_seed in rows.items():
        found.add_row(Text(name), *(Text(cell(by_seed[seed]) if seed in by_seed else "") for seed in seeds))
    seconds = left(standings)
    if seconds is not None:
        found.caption = Text(f"about {duration(seconds)} left")
    return found


def cell(standing: Standing) -> str:
    """Where one job stands, in a few words."""
    if standing.state == "running":
        return f"{standing.command.epochs()} epochs, {duration(standing.seconds)}"
    return standing.state


def left(standings: Sequence[Standing]) -> float | None:
    """Seconds until all is done, if the rest takes as long as what is done did on average, as many at a time as now;
    None as long as nobody knows."""
    took = [each.seconds for each in standings if each.state == "done" and each.attempts]
    at_work = [each.seconds for each in standings if each.state == "running"]
    if not took or not at_work:
        return None
    mean = sum(took) / len(took)
    waiting = sum(each.state in ("waiting", "queued") for each in standings)
    rest = waiting * mean + sum(max(0.0, mean - seconds) for seconds in at_work)
    return rest / len(at_work)
