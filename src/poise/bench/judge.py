"""What the results of a bench are truly worth: each looked up in a table, and compared without flattery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import monte_carlo_test

from poise.bench.protocol import Protocol
from poise.bench.result import Result
from poise.bench.statistics import Interval, OneSided, Summary, bootstrap_mean, kendall, paired_test, unpaired_test
from poise.errors import Refused
from poise.genotype import Genotype
from poise.truth.table import Table

BASE = "darts"
RANDOM = "random"
DECLINE = 3.0
"""A search has declined if what it ends with is this much worse, in the metric's unit, than what it once held."""


@dataclass(frozen=True)
class Judged:
    """One result and its true worth.

    Args:
        result: what was found.
        value: of the protocol's metric; ``checks``: of the other columns.
        percentile, regret: see `Table`.
        curve: the true value after each epoch; or, for contestants without epochs, along the trace.
        tau: Kendall's rank correlation between the supernet's ranking of random architectures and the truth.
    """

    result: Result
    value: float
    checks: Mapping[str, float]
    percentile: float
    regret: float
    curve: tuple[float, ...]
    tau: float | None

    @property
    def declined(self) -> bool:
        """Whether it ends clearly below what it once held."""
        return bool(self.curve) and max(self.curve) - self.value >= DECLINE


@dataclass(frozen=True)
class Standing:
    """All seeds of one contestant and one rule.

    ``against_base``: one-sided p that its seeds are better than the base's with the same rule, seed by seed, and the
    smallest p that so many seeds can give. ``against_random``: the same against random search stopped at the mean time
    of these runs. ``against_chance``: the chance that the mean of as many random architectures is at least this one's.
    """

    label: str
    contestant: str
    selection: str
    runs: tuple[Judged, ...]
    summary: Summary
    interval: Interval | None
    seconds: float
    tau: float | None
    best_epoch: float | None
    against_base: OneSided | None
    against_random: OneSided | None
    against_chance: float
    published: tuple[float, float] | None

    @property
    def checks(self) -> Mapping[str, float]:
        """Mean of every other column."""
        return {name: float(np.mean([run.checks[name] for run in self.runs])) for name in self.runs[0].checks}


def judge(result: Result, table: Table, protocol: Protocol) -> Judged:
    """Look one result up. Raises `Refused` if the table is of another space, or lacks a column."""
    if protocol.space not in (table.space, *table.others):
        raise Refused(f"the table is of space {table.space!r}, the bench searches {protocol.space!r}")
    truth = table.lookup(result.genotype)
    steps = result.epochs or result.trace
    curve = tuple(table.lookup(Genotype.parse(step["genotype"]))[protocol.metric] for step in steps)
    tau = None
    if len(result.ranking) > 1:
        true = [table.lookup(Genotype.parse(entry[0]))[protocol.metric] for entry in result.ranking]
        scores = [entry[1] for entry in result.ranking]
        tau = kendall(scores, true) if np.ptp(scores) > 0 and np.ptp(true) > 0 else None
    return Judged(
        result, truth[protocol.metric], {name: truth[name] for name in protocol.checks},
        table.percentile(result.genotype, protocol.metric), table.regret(result.genotype, protocol.metric), curve, tau,
    )  # fmt: skip


def standings(results: Sequence[Result], table: Table, protocol: Protocol) -> list[Standing]:
    """Every contestant with every rule, the best mean first."""
    groups: dict[tuple[str, str], list[Judged]] = {}
    for result in sorted(results, key=lambda result: result.seed):
        key = result.contestant, result.selection
        groups.setdefault(key, []).append(judge(result, table, protocol))
    values = table.column(protocol.metric)
    values = values[~np.isnan(values)]
    found = [_standing(key, runs, groups, values, protocol) for key, runs in groups.items()]
    return sorted(found, key=lambda standing: -standing.summary.mean)


def _standing(
    key: tuple[str, str],
    runs: Sequence[Judged],
    groups: Mapping[tuple[str, str], Sequence[Judged]],
    table: np.ndarray[tuple[int], np.dtype[np.float64]],
    protocol: Protocol,
) -> Standing:
    contestant, selection = key
    own = [run.value for run in runs]
    seconds = float(np.mean([run.result.total_seconds for run in runs]))
    taus = [run.tau for run in runs if run.tau is not None]
    base = groups.get((BASE, selection), ())
    chance = [at_time(run, seconds) for run in next((found for name, found in groups.items() if name[0] == RANDOM), ())]
    peaks = [max(run.curve) for run in runs if run.result.epochs]
    return Standing(
        label=runs[0].result.label,
        contestant=contestant,
        selection=selection,
        runs=tuple(runs),
        summary=Summary.of(own),
        interval=bootstrap_mean(own) if len(own) > 1 else None,
        seconds=seconds,
        tau=float(np.mean(taus)) if taus else None,
        best_epoch=float(np.mean(peaks)) if peaks else None,
        against_base=None if contestant in (BASE, RANDOM) else _against_base(runs, base),
        against_random=None if contestant == RANDOM or not chance else unpaired_test(own, chance),
        against_chance=_against_chance(own, table),
        published=protocol.published.get(contestant),
    )


def _against_base(runs: Sequence[Judged], base: Sequence[Judged]) -> OneSided | None:
    theirs = {run.result.seed: run.value for run in base}
    pairs = [(run.value, theirs[run.result.seed]) for run in runs if run.result.seed in theirs]
    if not pairs:
        return None
    first, second = zip(*pairs, strict=True)
    return paired_test(first, second)


def at_time(run: Judged, seconds: float) -> float:
    """The true value of what random search held after so many seconds; of its first architecture if that took longer,
    of its last if it had ended before."""
    held = [value for step, value in zip(run.result.trace, run.curve, strict=True) if step["seconds"] <= seconds]
    return held[-1] if held else run.curve[0]


def _against_chance(
    own: Sequence[float], table: np.ndarray[tuple[int], np.dtype[np.float64]], draws: int = 100_000
) -> float:
    """The share of ``draws`` samples of as many random architectures whose mean is at least the one seen, counting the
    one seen itself: never 0."""
    generator = np.random.default_rng(0)
    block = max(1, 10_000_000 // len(own))  # of samples at a time, so that many seeds fit
    test = monte_carlo_test(
        own, lambda size: generator.choice(table, size), np.mean, n_resamples=draws, batch=block, alternative="greater"
    )
    return float(test.pvalue)
