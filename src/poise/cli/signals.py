"""SIGTERM and SIGINT ask a run to stop: it is saved after the step that it is in. A second one stops it at once.

So does the end of the process that started it, where that was one of poise: a runner that was killed, or whose machine
was lost, cannot tell its processes to stop.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from poise.named import PARENT

STOPPED = 75
"""The exit code of a run that was asked to stop, and can go on: "temporary failure, try again" by convention."""


ASKING = (signal.SIGTERM, signal.SIGINT)
"""Signals that ask."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Inside, what it gives says whether the process was asked to stop."""
    asked: list[int] = []
    parent = os.environ.pop(PARENT, None)  # it is not the parent of what this process starts

    def hear(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, hear) for number in ASKING}
    try:
        yield lambda: bool(asked) or (parent is not None and os.getppid() != int(parent))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
