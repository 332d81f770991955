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


def epoch_line(stage: str, record: dict[str, Any], width: int | None = None, left: str = "") -> str:
    """One epoch in one line.

    Args:
        stage: what it is an epoch of.
        record: what it left.
        width: characters that there are; what matters least is left out, number by number. None: all is said.
        left: the time that is left.
    """
    known, splits = shares([record]), dict[str, list[tuple[str, str]]]()
    for name, value in record.items():
        split, what = parts_of(name)
        if split and value is not None:
            percent = is_share(name, known)
            text = f"{100 * value:.1f}%" if percent else f"{value:.3f}" if what == "loss" else f"{value:.4g}"
            splits.setdefault(split, []).append((what, f"{words(what)} {text}"))
    fields = [{f"{stage} epoch {record['epoch'] + 1}": ALWAYS}]
    for split, numbers in splits.items():
        metrics = LAST if split == list(splits)[-1] else EARLIER
        ranks = {text: LOSSES if what == "loss" and len(numbers) > 1 else metrics for what, text in numbers}
        fields.append({split: min(ranks.values())} | ranks)
    alignment = (record.get("alignment") or {}).get("train")
    if alignment is not None:
        fields.append({f"alignment {alignment:+.2f}": ALIGNMENT})
    if record.get("skip_share") is not None:
        fields.append({f"skips {100 * record['skip_share']:.0f}%": SKIPS})
    for metric, value in (record.get("expected_cost") or {}).items():
        fields.append({f"expected {metric} {readable(metric, value)}": COSTS})
    fields.append({f"{record['seconds']:.1f} s" + (f", {left} left" if left else ""): ALWAYS})
    for most in range(COSTS, -1, -1):
        kept = (" ".join(text for text, rank in field.items() if rank <= most) for field in fields)
        line = " | ".join(field for field in kept if field)
        if width is None or len(line) <= width:
            break
    return line


ALWAYS, LAST, EARLIER, LOSSES, SKIPS, ALIGNMENT, COSTS = range(7)
"""What an epoch's line can say; the last of it is left out first. Metrics are those of the last split, then others."""

ROOMY = 80
"""Characters from which on a bar is long, and has the time that passed beside it."""

WORTH = 10.0
"""Seconds from which on it is said before how long something will take."""


class Reporter:
    """A listener that shows what happens.

    Args:
        console: where.
        opening: what is said once the work begins, when nothing can be refused any more.
        terse: notes alone are shown.
        full: an epoch's line says all, however wide it gets; by default it fits a terminal.
    """

    def __init__(self, console: Console, opening: str = "", *, terse: bool = False, full: bool = False) -> None:
        self._console = console
        self._opening = "" if terse else opening
        self._terse = terse
        self._first: tuple[int, float] | None = None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20 if console.width >= ROOMY else 6),
            TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
            *([TimeElapsedColumn()] if console.width >= ROOMY else []),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._live = console.is_terminal and not terse
        self._width = console.width if console.is_terminal and not full else None
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
                left = "" if self._live else duration(self._left())
                self._print(epoch_line(stage, record, self._width, left))
            case Noted(message):
                self._console.print(f"note: {message}", markup=False, highlight=False, soft_wrap=True)

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
        if not self._terse:
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
