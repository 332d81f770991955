"""A bench on the terminal: a live table of what runs, or a line for everything that ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poise.bench.runner import State
from poise.report.readable_numbers import duration


class Board:
    """Told where every job stands."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._ended: set[str] = set()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, states: Sequence[State]) -> None:
        for state in states:
            name = f"{state.job.contestant}, seed {state.job.seed}"
            if state.state in ("done", "failed") and state.seconds and name not in self._ended:
                self._ended.add(name)
                about = f": {state.message}" if state.message else ""
                text = f"{state.state} after {duration(state.seconds)}: {name}{about}"
                self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        if self._live:
            self._live.update(table(states))


def table(states: Sequence[State]) -> Table:
    """Contestants by seeds."""
    seeds = sorted({state.job.seed for state in states})
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    found.add_column("contestant", style="bold")
    for seed in seeds:
        found.add_column(f"seed {seed}")
    rows: dict[str, dict[int, State]] = {}
    for state in states:
        rows.setdefault(state.job.contestant, {})[state.job.seed] = state
    for name, by_seed in rows.items():
        found.add_row(Text(name), *(Text(cell(by_seed[seed])) for seed in seeds))
    return found


def cell(state: State) -> str:
    """Where one job stands, in a few words."""
    if state.state == "running":
        return f"{state.epochs} epochs, {duration(state.seconds)}"
    return state.state
