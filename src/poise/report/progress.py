"""Live progress on a terminal, quiet lines elsewhere; both with the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from poise.costs.target import readable
from poise.engine.events import EpochEnded, Event, Listener, Noted, Started, Stepped, ignore
from poise.report.readable_numbers import duration, is_share, shares, words
from poise.report.readable_numbers import parts as parts_of


def epoch_line(stage: str, record: dict[str, Any]) -> str:
    """One epoch in one line."""
    parts = [f"{stage} epoch {record['epoch'] + 1}"]
    known, found = shares([record]), dict[str, list[str]]()
    for name, value in record.items():
        split, what = parts_of(name)
        if split and value is not None:
            percent = is_share(name, known)
            text = f"{100 * value:.1f}%" if percent else f"{value:.3f}" if what == "loss" else f"{value:.4g}"
            found.setdefault(split, [split]).append(f"{words(what)} {text}")
    parts += map(" ".join, found.values())
    alignment = (record.get("alignment") or {}).get("train")
    if alignment is not None:
        parts.append(f"alignment {alignment:+.2f}")
    if record.get("skip_share") is not None:
        parts.append(f"skips {100 * record['skip_share']:.0f}%")
    for metric, value in (record.get("expected_cost") or {}).items():
        parts.append(f"expected {metric} {readable(metric, value)}")
    return " | ".join([*parts, f"{record['seconds']:.1f} s"])


WORTH = 10.0
"""Seconds from which on it is said before how long something will take."""


class Reporter:
    """A listener that shows what happens.

    Args:
        console: where.
        opening: what is said once the work begins, when nothing can be refused any more.
    """

    def __init__(self, console: Console, opening: str = "") -> None:
        self._console = console
        self._opening = opening
        self._first: tuple[int, float] | None = None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._live = console.is_terminal
        self._task: TaskID | None = None
        self._stage = ""
        self._total = self._start_done = 0
        self._start = time.monotonic()
        self._done = 0

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Started(stage, steps, done):
                if self._opening:
                    self._print(self._opening)
                    self._opening = ""
                if stage != self._stage:
                    self._first = (done, 0.0)
                    self._stage, self._start, self._start_done = stage, time.monotonic(), done
                    if self._task is not None:
                        self._progress.remove_task(self._task)
                    self._task = self._progress.add_task(stage, total=steps, completed=done)
                self._total = steps
            case Stepped(_, done):
                self._done = done
                self._foretell()
                if self._live and self._task is not None:
                    self._progress.update(self._task, completed=done)
            case EpochEnded(stage, record):
                left = "" if self._live else f", {duration(self._left())} left"
                self._print(epoch_line(stage, record) + left)
            case Noted(message):
                self._print(f"note: {message}")

    def _foretell(self) -> None:
        """Say how long the stage will take, once: by its second and third steps, since the first one warms up."""
        if self._first is None:
            return
        start, then = self._first
        if self._done == start + 1:
            self._first = (start, time.monotonic())
        elif self._done >= start + 3 and then:
            self._first = None
            seconds = (time.monotonic() - then) / (self._done - start - 1) * (self._total - self._done)
            if seconds >= WORTH:
                steps = f"{self._total - start:,} steps"
                self._print(f"{self._stage}: {steps}, about {duration(seconds)}, going by the first ones")

    def _left(self) -> float:
        done = self._done - self._start_done
        return (time.monotonic() - self._start) / max(done, 1) * (self._total - self._done)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(listen: Listener | None) -> Iterator[Listener]:
    """The listener that was given. None: a `Reporter` on standard error if that is a terminal, or in a notebook; else
    nothing is said, so that scripts, tests and jobs stay quiet."""
    if listen is not None:
        yield listen
        return
    console = Console(stderr=True)
    if not (console.is_jupyter or (sys.stderr is not None and sys.stderr.isatty())):
        yield ignore
        return
    with Reporter(console) as reporter:
        yield reporter
