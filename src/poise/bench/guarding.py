"""How often a guard is right: replayed on searches whose true course is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from poise.bench.judge import Judged
from poise.methods.slots import Guard


@dataclass(frozen=True)
class Watched:
    """One search under a guard.

    Args:
        run: the search, as it went without one.
        fired: the epoch (0-based) after which the guard first warned; None: never.
        kept: the epoch whose alphas it keeps in the end.
    """

    run: Judged
    fired: int | None
    kept: int

    @property
    def value(self) -> float:
        """The true value of what it keeps."""
        return self.run.curve[self.kept]


def replay(guard: Guard, run: Judged) -> Watched:
    """What a guard would have made of a search: asked after every epoch, until it stops the search."""
    epochs = run.result.epochs
    fired = None
    verdict = guard(epochs[:1])
    for number in range(len(epochs)):
        verdict = guard(epochs[: number + 1])
        if verdict.warning is not None and fired is None:
            fired = number
        if verdict.stop:
            break
    return Watched(run, fired, verdict.keep)


@dataclass(frozen=True)
class Tally:
    """How a guard did on many searches.

    Args:
        declined: searches that ended clearly below what they once held; ``caught``: those of them in which it fired
            before the end.
        fine: all others; ``false_alarms``: those of them in which it fired.
        without, kept: the mean true value at the end, and of what the guard keeps.
    """

    declined: int
    caught: int
    fine: int
    false_alarms: int
    without: float
    kept: float


def tally(guard: Guard, runs: Sequence[Judged]) -> Tally:
    """Replay a guard on searches."""
    watched = [replay(guard, run) for run in runs]
    declined = [each for each in watched if each.run.declined]
    fine = [each for each in watched if not each.run.declined]
    return Tally(
        declined=len(declined),
        caught=sum(each.fired is not None for each in declined),
        fine=len(fine),
        false_alarms=sum(each.fired is not None for each in fine),
        without=float(np.mean([each.run.value for each in watched])),
        kept=float(np.mean([each.value for each in watched])),
    )
