"""What can be said of a bench's searches without ground truth: how far seeds agree, and what their records hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from poise.bench.anytime import PANELS, number_of
from poise.bench.judge import Judged, Standing
from poise.bench.standings import Rows
from poise.genotype import Genotype

NUMBERS = {"search accuracy (%)": r"search_accuracy"} | PANELS
"""Title -> the numbers of an epoch's record, by their flat names."""


def agreement(genotypes: Sequence[Genotype]) -> float | None:
    """The mean share of equal choices over all pairs of architectures; None for fewer than two.

    A choice is a row that at least one of the two keeps anything of; it is equal if they keep the same candidates.
    """
    shares = [_equal(first, second) for first, second in combinations(genotypes, 2)]
    return float(np.mean(shares)) if shares else None


def _equal(first: Genotype, second: Genotype) -> float:
    rows = [
        (set(choices.get(name, ())), set(second.choices[group].get(name, ())))
        for group, choices in first.choices.items()
        for name in {*choices, *second.choices[group]}
    ]
    kept = [(one, other) for one, other in rows if one or other]
    return float(np.mean([one == other for one, other in kept])) if kept else 1.0


def inside_rows(standings: Sequence[Standing]) -> Rows:
    """A row per contestant and rule: the agreement of its seeds, and the means over seeds of the last epoch's numbers,
    those of the search where a rule has no epochs of its own."""
    searches = {s.contestant: s.runs for s in standings if all(run.result.epochs for run in s.runs)}
    if not searches:
        return []
    rows = [["contestant", "agreement of seeds", *NUMBERS]]
    for standing in standings:
        equal = agreement([run.result.genotype for run in standing.runs])
        runs = searches.get(standing.contestant, ())
        numbers = [_last(runs, title, pattern) for title, pattern in NUMBERS.items()]
        rows.append([standing.label, "–" if equal is None else f"{equal:.2f}", *numbers])
    return rows


def _last(runs: Sequence[Judged], title: str, pattern: str) -> str:
    number = number_of(pattern)
    found = [number(run.result.epochs[-1]) for run in runs]
    if not found or np.isnan(found).all():
        return "–"
    scale, digits = (100, 1) if "%" in title else (1, 2)
    return f"{np.nanmean(found) * scale:.{digits}f}"
