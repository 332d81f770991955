"""Statistics that cannot flatter: tests, exact where they can be, and intervals that say how they were drawn.

Three seeds are few. A paired test of three seeds can never fall below p = 0.125, and a bootstrap of three values never
leaves their range. Each result here carries what it takes to see that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap, kendalltau, mannwhitneyu, monte_carlo_test, permutation_test, rankdata

from poise.errors import Refused, shown

LARGEST_PAIRED = 14
"""Pairs that differ of which all 2^n signs are tried; of more, so many draws of them:"""
DRAWS = 100_000
BLOCK = 2_000_000
"""Numbers drawn at a time, so that a large table fits."""
LARGEST_UNPAIRED = 2_000_000_000
"""Additions that an exact unpaired test may take."""
CLOSE = 2.0**-40
"""Sums that round to the same multiple of it, relative to the largest, count as equal: the same numbers in another
order round apart."""


def _checked(values: ArrayLike, what: str, least: int = 1) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise Refused(f"{what} must be numbers, got {shown(values)}") from None
    if array.ndim != 1 or len(array) < least:
        raise Refused(f"{what} must be a list of at least {least} numbers, got shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise Refused(f"{what} hold a value that is not finite")
    return array


@dataclass(frozen=True)
class Summary:
    """What a list of values, the larger the better, looks like. ``std`` is that of a sample (ddof = 1), None for a
    single value."""

    mean: float
    std: float | None
    median: float
    best: float
    worst: float

    @staticmethod
    def of(values: ArrayLike) -> Summary:
        array = _checked(values, "values")
        std = float(array.std(ddof=1)) if len(array) > 1 else None
        return Summary(float(array.mean()), std, float(np.median(array)), float(array.max()), float(array.min()))


class Interval(NamedTuple):
    """An interval of the mean."""

    low: float
    high: float


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, draws: int = 10_000) -> Interval:
    """The 95 % percentile bootstrap interval of the mean: quantiles of the means of ``draws`` samples with replacement.

    Each sample is ``n`` of the ``n`` values, drawn by numpy's PCG64 generator with ``seed``; the ends are the 0.025 and
    0.975 quantiles of the samples' means. The interval is too short for small n: with 3 values there are 10 different
    samples, and in a quarter of cases the true mean lies outside of all of them (for a symmetric distribution, where
    all three fall on one side of it). Source: Efron, "Bootstrap methods", 1979.

    Raises `Refused` for fewer than 2 values.
    """
    array = _checked(values, "values", 2)
    found = bootstrap(
        (array,), np.mean, n_resamples=draws, batch=max(1, BLOCK // len(array)), method="percentile", rng=seed
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


class OneSided(NamedTuple):
    """How often chance alone makes the first values as much larger than the second as they are: ``p``, and the
    ``least`` that p can be with so many values."""

    p: float
    least: float


def paired_test(first: ArrayLike, second: ArrayLike) -> OneSided:
    """The sign-flip permutation test of paired differences (Fisher's randomisation test).

    If the methods were the same, each difference ``d`` could as well be ``-d``. Of all ``2^n`` choices of signs, p is
    the share whose sum is at least the one seen, and at least ``2^-n``.

    Exact for up to 14 pairs that differ (equal ones change no sum). For more, 100,000 choices of signs are drawn by
    numpy's PCG64 generator with seed 0, and ``p = (hits + 1) / (draws + 1)``, which counts the choice seen: never
    0, and the same at every call. Source: Phipson and Smyth, "Permutation P-values should never be zero", 2010.

    Args:
        first, second: values ``[n]`` of two methods, seed by seed.

    Raises:
        Refused: no pairs, unequal lengths, values that are not finite.
    """
    a, b = _checked(first, "the first values"), _checked(second, "the second values")
    if len(a) != len(b):
        raise Refused(f"a paired test needs the same seeds: got {len(a)} and {len(b)} values")
    differing = (a - b)[a != b]
    pairs, largest = len(differing), float(np.abs(differing).sum()) or 1.0

    def total(signed: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.rint(signed.sum(axis=axis) / largest / CLOSE)

    if pairs <= LARGEST_PAIRED:
        padded = np.append(differing, np.zeros(max(0, 2 - pairs)))  # scipy wants two
        test = permutation_test((padded,), total, permutation_type="samples", n_resamples=np.inf, alternative="greater")
        return OneSided(float(test.pvalue), 2.0**-pairs)
    generator = np.random.default_rng(0)
    test = monte_carlo_test(
        differing, lambda size: generator.choice((-1.0, 1.0), size) * differing, total,
        n_resamples=DRAWS, batch=max(1, BLOCK // pairs), alternative="greater",
    )  # fmt: skip
    return OneSided(float(test.pvalue), 1 / (DRAWS + 1))


def unpaired_test(first: ArrayLike, second: ArrayLike) -> OneSided:
    """The Mann-Whitney test, also with ties: n seeds of a method against m runs of random search, say.

    ``U = #(first > second) + #(equal) / 2``. Of all ways to choose which n of the n + m values are the first sample, p
    is the share whose U is at least the one seen, and at least that of the largest U. Ties are common here, as several
    seeds may find the same architecture, and scipy's exact method does not know them; so rank sums are counted.

    That is exact, and takes up to 2 billion additions: about 130 values against as many, or 20 against 1,500. Larger
    samples get the normal approximation of U, with continuity correction and the variance corrected for ties, as in
    scipy.

    Raises:
        Refused: an empty sample, values that are not finite.
    """
    a, b = _checked(first, "the first values"), _checked(second, "the second values")
    n, m = len(a), len(b)
    both = np.concatenate([a, b])
    ranks = np.rint(2 * rankdata(both)).astype(np.int64)  # twice, so that shared ranks are whole
    size = min(n, m)  # the sums of the smaller sample say the same, with less to count
    most = int(np.sort(ranks)[-size:].sum())
    if (n + m) * size * most > LARGEST_UNPAIRED:
        ordered = np.sort(both)
        return OneSided(_approximate(a, b), _approximate(ordered[m:], ordered[:m]))
    counts = np.zeros((size + 1, most + 1))  # [how many are chosen, their sum of ranks]
    counts[0, 0] = 1
    for rank in ranks:
        counts[1:, rank:] += counts[:-1, : most + 1 - rank]  # numpy reads before it writes
    shares = counts[size] / math.comb(n + m, size)
    # how far the first sample's sum lies above its mean, for each sum of the smaller sample
    distances = np.arange(most + 1) - size * (n + m + 1)
    distances = distances if n == size else -distances
    seen = int(ranks[:n].sum()) - n * (n + m + 1)
    p, least = (float(shares[distances >= value].sum()) for value in (seen, distances[shares > 0].max()))
    return OneSided(min(1.0, p), min(1.0, least))


def _approximate(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """By the normal approximation."""
    return min(1.0, float(mannwhitneyu(a, b, alternative="greater", method="asymptotic").pvalue))


def kendall(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau-b: +1 the same order, -1 the reverse, corrected for ties. Refuses values that are all equal."""
    a, b = _checked(first, "the first values", 2), _checked(second, "the second values", 2)
    if len(a) != len(b):
        raise Refused(f"a correlation needs pairs: got {len(a)} and {len(b)} values")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise Refused("a rank correlation needs values that differ")
    return float(kendalltau(a, b, variant="b").statistic)
