"""When a checkpoint is written: every few minutes, at the end of an epoch, and when the run is asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from poise.engine.checkpoint import NOWHERE, Checkpoints, State
from poise.errors import Refused, Stopped

EVERY = 300.0
"""Seconds between checkpoints."""

SHARE = 0.01
"""At most this part of the time goes into checkpoints: the next one waits the longer, the longer the last one took."""


@dataclass(frozen=True)
class RunControl:
    """How a run is watched over.

    Args:
        every: seconds between checkpoints.
        asked: whether the run was asked to stop.
        rollbacks: how often a run that diverges goes back to its last checkpoint, each time with half the learning
            rate of the weights, before it gives up.
    """

    every: float = EVERY
    asked: Callable[[], bool] = lambda: False
    rollbacks: int = 0


class Checkpointer:
    """Keeps the state of one piece of work, which may have several parts, one after the other.

    ``facts`` are those of the whole work, such as its history: part of every state, whichever part writes it.

    Args:
        checkpoints: where; None: nowhere, and nothing is ever saved.
        start: where the work stood when it was last saved.
        control: how often, and whether the run was asked to stop.
        clock: seconds that only ever go forward, whatever the time of day is set to.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None = None,
        start: State = NOWHERE,
        control: RunControl = RunControl(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.start = start
        self.facts: State = dict(start.get("facts", {}))
        self.history: list[dict[str, Any]] = list(self.facts.get("history", []))
        self.facts["history"] = self.history
        self._checkpoints = checkpoints
        self._control = control
        self._clock = clock
        self._saved = clock()
        self._cost = 0.0

    def take(self) -> State:
        """The start, once: what comes after it begins from nothing."""
        start, self.start = self.start, NOWHERE
        return start

    def visit(self, state: Callable[[], State], boundary: bool = False) -> None:
        """Called after every step, and with ``boundary`` at the end of an epoch. Saves what ``state`` returns, if it is
        time.

        Raises:
            Stopped: the run was asked to stop, and was saved if it has a folder.
            Refused: the checkpoint could not be written; the one before it is untouched.
        """
        asked = self._control.asked()
        waited = self._clock() - self._saved
        due = waited >= self._cost / SHARE and (boundary or waited >= self._control.every)
        if self._checkpoints is not None and (asked or due):
            begin = self._clock()
            try:
                self._checkpoints.save({"facts": self.facts, **state()})
            except OSError as error:
                raise Refused(
                    f"cannot write a checkpoint to {self._checkpoints.folder} ({error.strerror or error}); the one "
                    "before it is whole, and the run can go on from there once this is mended"
                ) from None
            self._saved = self._clock()
            self._cost = self._saved - begin
        if asked:
            raise Stopped(None if self._checkpoints is None else self._checkpoints.folder.parent)
