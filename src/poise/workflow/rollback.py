"""A run that diverges goes back to its last checkpoint, and on from there with half the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from poise.engine.checkpoint import NOWHERE, State
from poise.engine.divergence import Diverged
from poise.engine.events import Listener, Noted
from poise.engine.keeper import Keeper, Watch
from poise.engine.run import RunFolder

T = TypeVar("T")


def persevere(
    work: Callable[[State, Keeper, float], T], folder: RunFolder, start: State, listen: Listener, watch: Watch
) -> T:
    """``work(start, keeper, rate)`` with ``rate`` 1, or, after each divergence, half of what it was before.

    How often it has gone back is part of every state, so that a run that is stopped in between still gives up in time.

    Raises:
        Diverged: once more than ``watch.rollbacks`` times.
    """
    while True:
        back = int(start.facts.get("rollbacks", 0))
        about = State({}, {"rollbacks": back})
        keeper = Keeper(folder.checkpoints, start, watch)
        inner = keeper.within(lambda state, about=about: state | about, keeper.take())  # type: ignore[misc]
        folder.rewrite_history(start.facts.get("history", []))
        try:
            return work(start, inner, 0.5**back)
        except Diverged as error:
            if back >= watch.rollbacks:
                raise
            listen(Noted(f"{error}. Going back to the last checkpoint, with half the learning rate"))
            start = folder.checkpoints.load(lambda message: listen(Noted(message))) or NOWHERE
            start = start | State({}, {"rollbacks": back + 1})
