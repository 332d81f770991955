"""The page of a run that is under way: written again after an epoch, so rarely that it costs the run nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from poise.engine.run import RunFolder
from poise.engine.unsaved import Output
from poise.report.page import FILE, Page, Status

EVERY = 10.0
"""Seconds between two writings, at least."""
SHARE = 0.01
"""At most this part of the time goes into the page: the longer the last writing took, the longer the next one waits."""


class LivePage:
    """Writes the page of a run while the run goes on, and when it is broken off. No run fails for its page.

    Args:
        output: where.
        page: makes it.
        clock: seconds that only ever go forward.
    """

    def __init__(
        self, output: Output, page: Callable[[RunFolder, Status], Page], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._output, self._page, self._clock = output, page, clock
        self._next = -1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.write("stopped")

    def visit(self) -> None:
        """Called after every epoch: writes the page if it is time."""
        begin = self._clock()
        if begin >= self._next:
            self.write("running")
            took = self._clock() - begin
            self._next = self._clock() + max(EVERY, took / SHARE)

    def write(self, state: Status) -> None:
        """Write the page now; whatever fails is passed over."""
        folder = self._output.holding("run.json")
        if folder is None:
            return
        try:
            folder.write(FILE, self._page(folder, state).html())
        except Exception:  # the run is worth more than a view of it
            return
