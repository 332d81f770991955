"""How often a guard is right, and what foretells a decline: replayed on searches whose true course is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from poise.bench.anytime import PANELS, number_of
from poise.bench.judge import DECLINE, Judged, Standing
from poise.bench.standings import Rows
from poise.methods.slots import SLOTS, Guard


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
    """What a guard would have made of a search: asked after every epoch, until it stops the search. Of a search in
    stages it sees the last one: what it would have changed in an earlier one no record tells."""
    stages = [record.get("stage", 0) for record in run.result.epochs]
    begin = stages.index(stages[-1])
    epochs = run.result.epochs[begin:]
    fired = None
    verdict = guard(epochs[:1])
    for number in range(len(epochs)):
        verdict = guard(epochs[: number + 1])
        if verdict.warning is not None and fired is None:
            fired = begin + number
        if verdict.stop:
            break
    return Watched(run, fired, begin + verdict.keep)


@dataclass(frozen=True)
class Tally:
    """How a guard did on many searches.

    Args:
        declined: searches that ended clearly below what they once held; ``caught``: those of them in which it fired
            before the end.
        fine: all others; ``false_alarms``: those of them in which it fired.
        epoch: the mean epoch (from 1) after which it first fired; None: it never did.
        without, kept: the mean true value at the end, and of what the guard keeps.
    """

    declined: int
    caught: int
    fine: int
    false_alarms: int
    epoch: float | None
    without: float
    kept: float


def tally(guard: Guard, runs: Sequence[Judged]) -> Tally:
    """Replay a guard on searches."""
    watched = [replay(guard, run) for run in runs]
    declined = [each for each in watched if each.run.declined]
    fine = [each for each in watched if not each.run.declined]
    fired = [each.fired + 1 for each in watched if each.fired is not None]
    return Tally(
        declined=len(declined),
        caught=sum(each.fired is not None for each in declined),
        fine=len(fine),
        false_alarms=sum(each.fired is not None for each in fine),
        epoch=float(np.mean(fired)) if fired else None,
        without=float(np.mean([each.run.value for each in watched])),
        kept=float(np.mean([each.value for each in watched])),
    )


def guards(runs: Sequence[Judged]) -> dict[str, Tally]:
    """Every guard that there is, with its defaults but for ``action="keep"``, on those searches whose records hold what
    it goes by; several rules may have chosen from one search, which counts once."""
    watched = {(run.result.contestant, run.result.seed): run for run in runs if run.result.epochs}
    found = {}
    for kind, made in SLOTS["guard"].items():
        needed = getattr(made, "diagnostics", ())
        fit = [run for run in watched.values() if all(name in run.result.epochs[0] for name in needed)]
        if fit and "action" in {field.name for field in fields(made)}:
            found[kind] = tally(made(action="keep"), fit)
    return found


def foresight(indicator: Callable[[Mapping[str, Any]], float], runs: Sequence[Judged]) -> float | None:
    """How well a number of the epochs' records tells where a search will decline: the probability that it is larger
    after an epoch whose architecture the search will lose than after one whose architecture it will not.

    An architecture is lost if the one in the end is worse by `poise.bench.judge.DECLINE` or more. This is the area
    under the ROC curve: 1/2 says nothing, 1 that larger is always worse, 0 that smaller is. Epochs of one search are no
    independent samples. None: one of the two kinds of epochs does not occur.
    """
    lost: list[float] = []
    held: list[float] = []
    for run in filter(lambda run: run.result.epochs, runs):
        for record, value in list(zip(run.result.epochs, run.curve, strict=True))[:-1]:
            number = indicator(record)
            if not np.isnan(number):
                (lost if value - run.value >= DECLINE else held).append(number)
    if not lost or not held:
        return None
    difference = np.subtract.outer(np.array(lost), np.array(held))
    return float(np.mean((np.sign(difference) + 1) / 2))


def guard_rows(standings: Sequence[Standing]) -> Rows:
    """A row per guard. Empty if no contestant has epochs."""
    head = ["guard", "declines caught", "false alarms", "after epoch", "mean at the end", "mean kept"]
    rows = [
        [
            kind, f"{tally.caught} of {tally.declined}", f"{tally.false_alarms} of {tally.fine}",
            "–" if tally.epoch is None else f"{tally.epoch:.1f}", f"{tally.without:.2f}", f"{tally.kept:.2f}",
        ]
        for kind, tally in guards(_runs(standings)).items()
    ]  # fmt: skip
    return [head, *rows] if rows else []


def indicator_rows(standings: Sequence[Standing]) -> Rows:
    """A row per number of the epochs' records that a figure shows. Empty if nothing declined, or everything did."""
    runs = [run for run in _runs(standings) if run.result.epochs]
    found = {name: foresight(number_of(pattern), runs) for name, pattern in PANELS.items()}
    rows = [[name, f"{value:.2f}"] for name, value in found.items() if value is not None]
    return [["indicator", "larger before a decline"], *rows] if rows else []


def guard_dict(standings: Sequence[Standing]) -> dict[str, Any]:
    """As plain values."""
    runs = _runs(standings)
    return {
        "guards": {kind: vars(tally) for kind, tally in guards(runs).items()},
        "foresight": {name: foresight(number_of(pattern), runs) for name, pattern in PANELS.items()},
    }


def _runs(standings: Sequence[Standing]) -> list[Judged]:
    return [run for standing in standings for run in standing.runs]
