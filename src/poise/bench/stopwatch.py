"""Seconds that a piece of work took, over all the processes that it took."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Self

from poise.engine.checkpoint import write_durably
from poise.engine.events import Event

EVERY = 5.0
"""Seconds between notes; what a killed process did since its last one is not counted."""


class Stopwatch:
    """Counts on from what a file says; a listener, so that long work is noted while it goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = _read(path)
        self._start = self._noted = time.monotonic()

    @property
    def seconds(self) -> float:
        """So far."""
        return self._before + time.monotonic() - self._start

    def __enter__(self) -> Self:
        self._start = self._noted = time.monotonic()
        return self

    def __call__(self, event: Event) -> None:
        if time.monotonic() - self._noted > EVERY:
            self._note()

    def __exit__(self, *error: object) -> None:
        self._note()

    def _note(self) -> None:
        self._noted = time.monotonic()
        write_durably(self._path, f"{self.seconds:.3f}".encode("ascii"))


def _read(path: Path) -> float:
    """The seconds of a note; 0 if there is none, or none that can be read."""
    try:
        seconds = float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
