"""Statistics against scipy, brute force over small sets, and cases worked by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from poise.bench import statistics
from poise.bench.statistics import (
    Summary,
    bootstrap_mean,
    expected_best_of,
    kendall,
    paired_test,
    quantile_best_of,
    unpaired_test,
)
from poise.errors import Refused


def test_summary_by_hand() -> None:
    summary = Summary.of([2, 4, 9])
    assert (summary.n, summary.mean, summary.median, summary.best, summary.worst) == (3, 5.0, 4.0, 9.0, 2.0)
    assert summary.std == pytest.approx(math.sqrt(13))
    lower = Summary.of([2, 4, 9], lower=True)
    assert (lower.best, lower.worst) == (2.0, 9.0)
    assert Summary.of([7.5]).std is None, "one value has no spread"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: Summary.of([]), "at least 1 numbers"),
        (lambda: Summary.of([1, math.nan]), "not finite"),
        (lambda: Summary.of(["a"]), "must be numbers"),
        (lambda: Summary.of([[1.0]]), r"shape \[1, 1\]"),
        (lambda: bootstrap_mean([1.0]), "at least 2 numbers"),
        (lambda: bootstrap_mean([1, 2], level=1.0), "between 0 and 1"),
        (lambda: bootstrap_mean([1, 2], draws=10), "at least 100 draws"),
        (lambda: paired_test([1, 2], [1]), "2 and 1 values"),
        (lambda: unpaired_test([1], [math.inf]), "not finite"),
        (lambda: kendall([1, 1], [1, 2]), "values that differ"),
        (lambda: kendall([1, 2, 3], [1, 2]), "needs pairs"),
        (lambda: expected_best_of([1, 2], 3), "from 1 to 2"),
        (lambda: expected_best_of([1, 2], 0), "from 1 to 2"),
        (lambda: expected_best_of([1, 2], True), "from 1 to 2"),
        (lambda: quantile_best_of([1, 2], 1, 0.0), "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        call()


def test_bootstrap_of_two_values_has_four_equally_likely_samples() -> None:
    """Means 0, 1, 1, 2 with chances 1/4, 1/2, 1/4: the 95 % interval is all of it, the 40 % interval the middle."""
    wide, narrow = bootstrap_mean([0.0, 2.0], seed=3), bootstrap_mean([0.0, 2.0], seed=3, level=0.4)
    assert (wide.low, wide.high) == (0.0, 2.0)
    assert (narrow.low, narrow.high) == (1.0, 1.0)
    assert (wide.draws, wide.seed, wide.level) == (10_000, 3, 0.95)


def test_bootstrap_against_its_definition_and_its_seed() -> None:
    values = np.random.default_rng(0).normal(93, 0.5, 30)
    ours = bootstrap_mean(values, seed=1, draws=50_000)
    means = values[np.random.default_rng(1).integers(0, 30, (50_000, 30))].mean(axis=1)
    assert (ours.low, ours.high) == pytest.approx(np.quantile(means, (0.025, 0.975)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "BLOCK", 1000)
        assert bootstrap_mean(values, seed=1, draws=50_000) == ours, "drawn piece by piece they are the same"
    assert bootstrap_mean(values, seed=1, draws=50_000) == ours
    assert bootstrap_mean(values, seed=2, draws=50_000) != ours
    assert bootstrap_mean(values, seed=1, level=0.5).high < ours.high


def test_three_values_miss_the_true_mean_too_often() -> None:
    """What the docstring warns of: 95 % on the label, at most 75 % in truth."""
    generator = np.random.default_rng(0)
    intervals = [bootstrap_mean(generator.normal(0, 1, 3), draws=200) for _ in range(500)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.65 < covered < 0.78


def test_paired_test_by_hand() -> None:
    """Differences 1, 2, 3: of 8 choices of signs only +++ reaches 6; two-sided also ---."""
    test = paired_test([2, 4, 6], [1, 2, 3])
    assert (test.n, test.difference, test.greater, test.two_sided) == (3, 2.0, 1 / 8, 2 / 8)
    assert (test.smallest_greater, test.smallest_two_sided) == (1 / 8, 1 / 4), "three pairs can never reach 0.05"
    back = paired_test([1, 2, 3], [2, 4, 6])
    assert (back.difference, back.greater, back.two_sided) == (-2.0, 1.0, 2 / 8)
    # 3, -1: sums of signs 4, 2, -2, -4; seen 2
    assert paired_test([3, 0], [0, 1]).greater == 2 / 4
    assert paired_test([3, 0], [0, 1]).two_sided == 1.0


def test_paired_test_of_equals() -> None:
    test = paired_test([1, 2, 3], [1, 2, 3])
    assert (test.greater, test.two_sided, test.smallest_two_sided) == (1.0, 1.0, 1.0)
    assert paired_test([1, 2, 4], [1, 2, 3]).smallest_greater == 0.5, "pairs that do not differ say nothing"


@pytest.mark.parametrize("n", [1, 4, 7, 10])
def test_paired_test_against_brute_force(n: int) -> None:
    generator = np.random.default_rng(n)
    a, b = generator.normal(0.5, 1, n).round(1), generator.normal(0, 1, n).round(1)
    d = a - b
    sums = [float(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=n)]
    test = paired_test(a, b)
    assert test.greater == np.mean([s >= d.sum() - 1e-9 for s in sums])
    assert test.two_sided == np.mean([abs(s) >= abs(d.sum()) - 1e-9 for s in sums])


@pytest.mark.parametrize(("n", "least"), [(14, 2.0**-13), (15, 2 / 100_001), (20, 2 / 100_001)])
def test_paired_test_is_near_the_t_and_wilcoxon_tests_exact_or_drawn(n: int, least: float) -> None:
    generator = np.random.default_rng(5)
    a, b = generator.normal(0.4, 1, n), generator.normal(0, 1, n)
    test = paired_test(a, b)
    assert test.two_sided == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)
    assert test.greater == pytest.approx(stats.wilcoxon(a, b, alternative="greater").pvalue, abs=0.06)
    assert test.smallest_two_sided == least


def test_paired_test_does_not_trip_over_rounding() -> None:
    """0.1 + 0.2 and 0.3 are the same sum here."""
    test = paired_test([0.1, 0.2, -0.3], [0, 0, 0])
    assert test.two_sided == 1.0
    assert paired_test([0.1, 0.1, 0.1, -0.1], [0] * 4).two_sided == 10 / 16, "all but the six choices that sum to 0"
    signed = itertools.product((0.1, -0.1), (0.2, -0.2), (0.3, -0.3))
    assert test.greater == np.mean([round(sum(terms), 9) >= 0 for terms in signed])


def test_pairs_that_are_too_many_to_try_all_signs() -> None:
    """Whole differences, so that the shares of all 2^n sums are counted exactly, one pair after the other."""
    differences = np.array([3, -1, 2, 5, -4, 1, 2, -2, 6, 1, -3, 2, 4, -1, 1, 2, -5, 3, 1, 2, -1, 4, -2, 1, 1.0])
    shares = {0: 1.0}
    for each in differences.astype(int):
        after: dict[int, float] = {}
        for total, share in shares.items():
            for found in (total + each, total - each):
                after[found] = after.get(found, 0.0) + share / 2
        shares = after
    seen = int(differences.sum())
    greater = sum(share for total, share in shares.items() if total >= seen)
    test = paired_test(differences, np.zeros(25))
    assert test.greater == pytest.approx(greater, abs=0.003), "3 standard deviations of 100,000 draws"
    assert test.two_sided == pytest.approx(2 * greater, abs=0.004)
    assert paired_test(-differences, np.zeros(25)).greater > 0.9
    assert paired_test(differences, np.zeros(25)) == test, "the draws are the same every time"
    clear = paired_test(np.arange(1.0, 41.0), np.zeros(40))
    assert clear.greater == clear.smallest_greater == 1 / 100_001, "the choice seen counts"
    assert clear.two_sided == clear.smallest_two_sided == 2 / 100_001
    assert paired_test([1, 2, 3] + [0] * 30, [0] * 33).greater == 1 / 8, "exact, as 3 pairs differ"


def test_samples_that_are_too_large_to_count() -> None:
    """Against scipy, and against the exact test just below the limit."""
    generator = np.random.default_rng(1)
    a, b = generator.normal(0.2, 1, 150).round(1), generator.normal(0, 1, 151).round(1)
    test = unpaired_test(a, b)
    theirs = stats.mannwhitneyu(a, b, alternative="greater", method="asymptotic")
    assert test.greater == pytest.approx(theirs.pvalue)
    assert test.superiority == pytest.approx(theirs.statistic / (150 * 151))
    assert test.two_sided == pytest.approx(min(2 * test.greater, 2 * unpaired_test(b, a).greater))
    assert 0 < test.smallest_greater < test.smallest_two_sided < 1e-40
    assert unpaired_test(np.sort(b)[::-1] + 99, b).greater == unpaired_test(b + 99, b).smallest_greater
    exact = unpaired_test(a[:100], b[:101])
    near = stats.mannwhitneyu(a[:100], b[:101], alternative="greater", method="asymptotic").pvalue
    assert exact.greater != near
    assert exact.greater == pytest.approx(near, rel=0.02)
    same = unpaired_test([1.0] * 200, [1.0] * 200)
    assert (same.greater, same.two_sided, same.smallest_greater, same.superiority) == (1, 1, 1, 0.5)


def brute_unpaired(a: list[float], b: list[float]) -> tuple[float, float]:
    both = a + b

    def u(chosen: tuple[int, ...]) -> float:
        rest = [both[i] for i in range(len(both)) if i not in chosen]
        return sum((both[i] > y) + 0.5 * (both[i] == y) for i in chosen for y in rest)

    seen, middle = u(tuple(range(len(a)))), len(a) * len(b) / 2
    every = [u(chosen) for chosen in itertools.combinations(range(len(both)), len(a))]
    greater = np.mean([value >= seen for value in every])
    return float(greater), float(np.mean([abs(value - middle) >= abs(seen - middle) for value in every]))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (3, 7), (7, 3), (2, 9)])
@pytest.mark.parametrize("ties", [False, True])
def test_unpaired_test_against_brute_force(n: int, m: int, ties: bool) -> None:
    generator = np.random.default_rng(10 * n + m)
    a, b = generator.normal(0.5, 1, n), generator.normal(0, 1, m)
    first, second = (a.round().tolist(), b.round().tolist()) if ties else (a.tolist(), b.tolist())
    test = unpaired_test(first, second)
    assert (test.greater, test.two_sided) == pytest.approx(brute_unpaired(first, second))
    u = sum((x > y) + 0.5 * (x == y) for x in first for y in second)
    assert test.superiority == pytest.approx(u / (n * m))
    if not ties:
        assert test.smallest_greater == pytest.approx(1 / math.comb(n + m, n))
        assert test.greater == pytest.approx(
            stats.mannwhitneyu(first, second, alternative="greater", method="exact").pvalue
        )


def test_unpaired_test_of_few_seeds_against_many_random_runs() -> None:
    generator = np.random.default_rng(0)
    seeds, runs = generator.normal(1, 1, 5), generator.normal(0, 1, 100)
    test = unpaired_test(seeds, runs)
    for alternative, ours in (("greater", test.greater), ("two-sided", test.two_sided)):
        assert ours == pytest.approx(stats.mannwhitneyu(seeds, runs, alternative=alternative, method="exact").pvalue)
    assert test.smallest_two_sided == pytest.approx(2 / math.comb(105, 5))
    mirrored = unpaired_test(runs, seeds)
    assert mirrored.superiority == pytest.approx(1 - test.superiority)
    assert mirrored.two_sided == pytest.approx(test.two_sided)
    assert unpaired_test([1, 1], [1, 1, 1]).two_sided == 1.0
    assert unpaired_test([1, 1], [1, 1, 1]).smallest_greater == 1.0, "equal values can never tell"


def test_kendall_against_its_formula() -> None:
    a, b = [1, 2, 2, 3], [1, 3, 2, 3]
    # pairs: 5 comparable in a, 5 in b; concordant 4, discordant 0
    assert kendall(a, b) == pytest.approx(4 / math.sqrt(5 * 5))
    assert kendall([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_against_brute_force(replacement: bool, lower: bool, n: int) -> None:
    values = [3.0, -1.0, 3.0, 10.0, 2.5]
    pick = min if lower else max
    draws = itertools.product(values, repeat=n) if replacement else itertools.permutations(values, n)
    best = [pick(draw) for draw in draws]
    assert expected_best_of(values, n, replacement=replacement, lower=lower) == pytest.approx(np.mean(best))
    for share in (0.05, 0.4, 0.5, 0.9, 1.0):
        found = quantile_best_of(values, n, share, replacement=replacement, lower=lower)
        good = [(value >= found) if lower else (value <= found) for value in best]
        assert np.mean(good) >= share - 1e-9
        better = [(value > found) if lower else (value < found) for value in best]
        assert np.mean(better) < share, "the tightest such value"


def test_best_of_by_hand() -> None:
    """Of 1, 2, 3 two are drawn: the best is 3 in two of three cases, else 2."""
    assert expected_best_of([1, 2, 3], 2) == pytest.approx((3 + 3 + 2) / 3)
    assert expected_best_of([1, 2, 3], 2, replacement=True) == pytest.approx((1 * 1 + 2 * 3 + 3 * 5) / 9)
    assert expected_best_of([1, 2, 3], 3) == 3.0
    found = [quantile_best_of(range(1, 50), 1, k / 49) for k in range(1, 50)]
    assert found == list(range(1, 50)), "one draw has the quantiles of the table itself, whatever rounding does"


def test_best_of_is_stable_for_a_large_table() -> None:
    """Uniform values: E = n (N + 1) / (n + 1), of 1..N without replacement, exactly."""
    values = np.arange(1, 15_626)
    for n in (1, 10, 1000, 15_000, 15_625):
        assert expected_best_of(values, n) == pytest.approx(n * 15_626 / (n + 1), rel=1e-12)
    assert expected_best_of(values + 1e9, 7) - 1e9 == pytest.approx(7 * 15_626 / 8, rel=1e-6)
    assert expected_best_of(values, 10, replacement=True) < expected_best_of(values, 10)
