"""SIGTERM and SIGINT ask a run to stop: it is saved after the step that it is in. A second one stops it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 75
"""The exit code of a run that was asked to stop, and can go on: "temporary failure, try again" by convention."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Inside, what it gives says whether the process was asked to stop."""
    asked: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
