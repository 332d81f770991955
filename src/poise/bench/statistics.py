"""Statistics that cannot flatter: tests, exact where they can be, intervals that say how they were drawn, and what luck
would reach.

Three seeds are few. A paired test of three seeds can never fall below p = 0.125 (one-sided; 0.25 two-sided), a
bootstrap of three values never leaves their range, and the best of a hundred random networks is good. Each result here
carries what it takes to see that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    """What a list of values looks like. ``std`` is that of a sample (ddof = 1), None for a single value."""

    n: int
    mean: float
    std: float | None
    median: float
    best: float
    worst: float

    @staticmethod
    def of(values: ArrayLike, *, lower: bool = False) -> Summary:
        """Of these values, of which a larger one is better, or with ``lower`` a smaller one."""
        array = _checked(values, "values")
        std = float(array.std(ddof=1)) if len(array) > 1 else None
        ends = float(array.max()), float(array.min())
        best, worst = ends[::-1] if lower else ends
        return Summary(len(array), float(array.mean()), std, float(np.median(array)), best, worst)


@dataclass(frozen=True)
class Interval:
    """An interval of the mean, and how it was made."""

    low: float
    high: float
    level: float
    draws: int
    seed: int


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, level: float = 0.95, draws: int = 10_000) -> Interval:
    """The percentile bootstrap interval of the mean: quantiles of the means of ``draws`` samples with replacement.

    Each sample is ``n`` of the ``n`` values, drawn by numpy's PCG64 generator with ``seed``; the ends are the quantiles
    ``(1 ± level) / 2`` of the samples' means. The interval is too short for small n: with 3 values there are 10
    different samples, and in a quarter of cases the true mean lies outside of all of them (for a symmetric
    distribution, where all three fall on one side of it). Source: Efron, "Bootstrap methods", 1979.

    Raises:
        Refused: fewer than 2 values, a level outside of 0 to 1, fewer than 100 draws.
    """
    array = _checked(values, "values", 2)
    if not 0 < level < 1:
        raise Refused(f"a level lies between 0 and 1, got {level}")
    if draws < 100:
        raise Refused(f"a bootstrap needs at least 100 draws, got {draws}")
    low, high = bootstrap(
        (array,), np.mean, n_resamples=draws, batch=max(1, BLOCK // len(array)), confidence_level=level,
        method="percentile", rng=seed,
    ).confidence_interval  # fmt: skip
    return Interval(float(low), float(high), level, draws, seed)


@dataclass(frozen=True)
class PairedTest:
    """Two methods over the same seeds: ``difference = mean(first - second)`` and how often chance alone reaches it.

    ``greater`` is the one-sided p (first is better, if larger is), ``two_sided`` the other. ``smallest_greater`` and
    ``smallest_two_sided`` are the smallest that so many pairs that differ can give at all, ``2^-n`` and ``2^(1-n)``;
    of drawn signs, ``1 / (draws + 1)`` and twice that.
    """

    n: int
    difference: float
    greater: float
    two_sided: float
    smallest_greater: float
    smallest_two_sided: float


def paired_test(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """The sign-flip permutation test of paired differences (Fisher's randomisation test).

    If the methods were the same, each difference ``d`` could as well be ``-d``. Of all ``2^n`` choices of signs, p is
    the share whose sum is at least the one seen; two-sided, as in scipy, twice the smaller of the two sides' shares.

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
    differences = a - b
    differing = differences[differences != 0]
    pairs, largest = len(differing), float(np.abs(differing).sum()) or 1.0
    exact = pairs <= LARGEST_PAIRED
    least = 2.0**-pairs if exact else 1 / (DRAWS + 1)

    def total(signed: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.rint(signed.sum(axis=axis) / largest / CLOSE)

    def p(alternative: str) -> float:
        if exact:
            padded = np.append(differing, np.zeros(max(0, 2 - pairs)))  # scipy wants two
            test = permutation_test(
                (padded,), total, permutation_type="samples", n_resamples=np.inf, alternative=alternative
            )
        else:
            generator = np.random.default_rng(0)
            test = monte_carlo_test(
                differing, lambda size: generator.choice((-1.0, 1.0), size) * differing, total,
                n_resamples=DRAWS, batch=max(1, BLOCK // pairs), alternative=alternative,
            )  # fmt: skip
        return float(test.pvalue)

    return PairedTest(len(a), float(differences.mean()), p("greater"), p("two-sided"), least, min(1.0, 2 * least))


@dataclass(frozen=True)
class UnpairedTest:
    """Two independent samples. ``superiority`` is ``P(first > second) + P(equal) / 2`` over all pairs: 0.5 is a draw.

    ``greater`` and ``two_sided`` are p values; the ``smallest`` ones are those that the same values would give if they
    fell to the samples in the most extreme way.
    """

    n: int
    m: int
    superiority: float
    greater: float
    two_sided: float
    smallest_greater: float
    smallest_two_sided: float


def unpaired_test(first: ArrayLike, second: ArrayLike) -> UnpairedTest:
    """The Mann-Whitney test, also with ties: n seeds of a method against m runs of random search, say.

    ``U = #(first > second) + #(equal) / 2``. Of all ways to choose which n of the n + m values are the first sample, p
    is the share whose U is at least the one seen; two-sided: at least as far from ``n m / 2``. Ties are common here, as
    several seeds may find the same architecture, and scipy's exact method does not know them; so rank sums are counted.

    That is exact, and takes up to 2 billion additions: about 130 values against as many, or 20 against 1,500. Larger
    samples get the normal approximation of U, with continuity correction and the variance corrected for ties, as in
    scipy.

    Raises:
        Refused: an empty sample, values that are not finite.
    """
    a, b = _checked(first, "the first values"), _checked(second, "the second values")
    n, m = len(a), len(b)
    ranks = np.rint(2 * rankdata(np.concatenate([a, b]))).astype(np.int64)  # twice, so that shared ranks are whole
    size = min(n, m)  # the sums of the smaller sample say the same, with less to count
    most = int(np.sort(ranks)[-size:].sum())
    if (n + m) * size * most > LARGEST_UNPAIRED:
        return _approximate(a, b)
    counts = np.zeros((size + 1, most + 1))  # [how many are chosen, their sum of ranks]
    counts[0, 0] = 1
    for rank in ranks:
        counts[1:, rank:] += counts[:-1, : most + 1 - rank]  # numpy reads before it writes
    shares = counts[size] / math.comb(n + m, size)
    # how far the first sample's sum lies above its mean, for each sum of the smaller sample
    distances = np.arange(most + 1) - size * (n + m + 1)
    distances = distances if n == size else -distances
    seen = int(ranks[:n].sum()) - n * (n + m + 1)
    reachable = distances[shares > 0]
    return UnpairedTest(
        n=n,
        m=m,
        superiority=0.5 + seen / (2 * n * m),
        greater=_share(shares[distances >= seen]),
        two_sided=_share(shares[np.abs(distances) >= abs(seen)]),
        smallest_greater=_share(shares[distances >= reachable.max()]),
        smallest_two_sided=_share(shares[np.abs(distances) >= np.abs(reachable).max()]),
    )


def _approximate(a: NDArray[np.float64], b: NDArray[np.float64]) -> UnpairedTest:
    """By the normal approximation."""

    def p(first: NDArray[np.float64], second: NDArray[np.float64], alternative: str) -> float:
        return min(1.0, float(mannwhitneyu(first, second, alternative=alternative, method="asymptotic").pvalue))

    n, m = len(a), len(b)
    ordered = np.sort(np.concatenate([a, b]))
    highest, lowest = (ordered[m:], ordered[:m]), (ordered[:n], ordered[n:])  # how the samples could differ most
    return UnpairedTest(
        n=n,
        m=m,
        superiority=float(mannwhitneyu(a, b, method="asymptotic").statistic) / (n * m),
        greater=p(a, b, "greater"),
        two_sided=p(a, b, "two-sided"),
        smallest_greater=p(*highest, "greater"),
        smallest_two_sided=min(p(*highest, "two-sided"), p(*lowest, "two-sided")),
    )


def _share(shares: NDArray[np.float64]) -> float:
    return min(1.0, float(shares.sum()))


def kendall(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau-b: +1 the same order, -1 the reverse, corrected for ties. Refuses values that are all equal."""
    a, b = _checked(first, "the first values", 2), _checked(second, "the second values", 2)
    if len(a) != len(b):
        raise Refused(f"a correlation needs pairs: got {len(a)} and {len(b)} values")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise Refused("a rank correlation needs values that differ")
    return float(kendalltau(a, b, variant="b").statistic)


def expected_best_of(values: ArrayLike, n: int, *, replacement: bool = False, lower: bool = False) -> float:
    """What random search reaches on average: the expectation of the best of ``n`` draws from a table. Exact.

    With the N values sorted, ``F(k)`` the chance that the best is among the k worst,
    ``E = v(N) - sum over k < N of (v(k+1) - v(k)) F(k)``.

    Args:
        values: all values of the table ``[N]``.
        n: draws, 1 to N (any number with replacement).
        replacement: whether an architecture may be drawn twice.
        lower: whether a smaller value is better.
    """
    ordered, chances = _best_of(values, n, replacement, lower)
    expectation = float(ordered[-1] - np.diff(ordered) @ chances[:-1])
    return -expectation if lower else expectation


def quantile_best_of(
    values: ArrayLike, n: int, share: float, *, replacement: bool = False, lower: bool = False
) -> float:
    """The value that the best of ``n`` draws does not surpass with probability ``share`` (or more), see above.

    With ``share = 0.95``, say: one random search of ``n`` draws in twenty finds something better than this.
    """
    if not 0 < share <= 1:
        raise Refused(f"a share lies above 0 and at most at 1, got {share}")
    ordered, chances = _best_of(values, n, replacement, lower)
    value = float(ordered[np.searchsorted(chances, share * (1 - CLOSE))])
    return -value if lower else value


def _best_of(
    values: ArrayLike, n: int, replacement: bool, lower: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values from worst to best, and for each the chance that the best of n draws is none after it.

    Without replacement ``F(k) = C(k, n) / C(N, n)``; by ``F(k-1) = F(k) (k-n) / k`` from ``F(N) = 1``, as products of
    numbers below 1: nothing overflows, and what underflows is zero.
    """
    array = _checked(values, "values")
    size = len(array)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1 or (n > size and not replacement):
        raise Refused(f"draws must be a whole number from 1{'' if replacement else f' to {size}'}, got {shown(n)}")
    ordered = np.sort(-array if lower else array)
    k = np.arange(1, size + 1)
    if replacement:
        return ordered, (k / size) ** n
    factors = np.maximum(0.0, (k[1:] - n) / k[1:])
    return ordered, np.concatenate([np.cumprod(factors[::-1])[::-1], [1.0]])
