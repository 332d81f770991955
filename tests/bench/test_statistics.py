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
from poise.bench.statistics import Summary, bootstrap_mean, kendall, paired_test, unpaired_test
from poise.errors import Refused


def test_summary_by_hand() -> None:
    summary = Summary.of([2, 4, 9])
    assert (summary.mean, summary.median, summary.best, summary.worst) == (5.0, 4.0, 9.0, 2.0)
    assert summary.std == pytest.approx(math.sqrt(13))
    assert Summary.of([7.5]).std is None, "one value has no spread"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: Summary.of([]), "at least 1 numbers"),
        (lambda: Summary.of([1, math.nan]), "not finite"),
        (lambda: Summary.of(["a"]), "must be numbers"),
        (lambda: Summary.of([[1.0]]), r"shape \[1, 1\]"),
        (lambda: bootstrap_mean([1.0]), "at least 2 numbers"),
        (lambda: paired_test([1, 2], [1]), "2 and 1 values"),
        (lambda: unpaired_test([1], [math.inf]), "not finite"),
        (lambda: kendall([1, 1], [1, 2]), "values that differ"),
        (lambda: kendall([1, 2, 3], [1, 2]), "needs pairs"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        call()


def test_bootstrap_of_two_values_has_four_equally_likely_samples() -> None:
    """Means 0, 1, 1, 2 with chances 1/4, 1/2, 1/4: the 95 % interval is all of it."""
    assert bootstrap_mean([0.0, 2.0], seed=3) == (0.0, 2.0)


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


def test_three_values_miss_the_true_mean_too_often() -> None:
    """What the docstring warns of: 95 % on the label, at most 75 % in truth."""
    generator = np.random.default_rng(0)
    intervals = [bootstrap_mean(generator.normal(0, 1, 3), draws=200) for _ in range(500)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.65 < covered < 0.78


def test_paired_test_by_hand() -> None:
    """Differences 1, 2, 3: of 8 choices of signs only +++ reaches 6."""
    assert paired_test([2, 4, 6], [1, 2, 3]) == (1 / 8, 1 / 8), "three pairs can never reach 0.05"
    assert paired_test([1, 2, 3], [2, 4, 6]) == (1.0, 1 / 8)
    # 3, -1: sums of signs 4, 2, -2, -4; seen 2
    assert paired_test([3, 0], [0, 1]).p == 2 / 4


def test_paired_test_of_equals() -> None:
    assert paired_test([1, 2, 3], [1, 2, 3]) == (1.0, 1.0)
    assert paired_test([1, 2, 4], [1, 2, 3]).least == 0.5, "pairs that do not differ say nothing"


@pytest.mark.parametrize("n", [1, 4, 7, 10])
def test_paired_test_against_brute_force(n: int) -> None:
    generator = np.random.default_rng(n)
    a, b = generator.normal(0.5, 1, n).round(1), generator.normal(0, 1, n).round(1)
    d = a - b
    sums = [float(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=n)]
    assert paired_test(a, b).p == np.mean([s >= d.sum() - 1e-9 for s in sums])


@pytest.mark.parametrize(("n", "least"), [(14, 2.0**-14), (15, 1 / 100_001), (20, 1 / 100_001)])
def test_paired_test_is_near_the_t_and_wilcoxon_tests_exact_or_drawn(n: int, least: float) -> None:
    generator = np.random.default_rng(5)
    a, b = generator.normal(0.4, 1, n), generator.normal(0, 1, n)
    test = paired_test(a, b)
    assert test.p == pytest.approx(stats.ttest_rel(a, b, alternative="greater").pvalue, abs=0.01)
    assert test.p == pytest.approx(stats.wilcoxon(a, b, alternative="greater").pvalue, abs=0.06)
    assert test.least == least


def test_paired_test_does_not_trip_over_rounding() -> None:
    """0.1 + 0.2 and 0.3 are the same sum here."""
    assert paired_test([0.1, 0.1, 0.1, -0.1], [0] * 4).p == 5 / 16, "++++ and the four choices of a single minus"
    signed = itertools.product((0.1, -0.1), (0.2, -0.2), (0.3, -0.3))
    found = paired_test([0.1, 0.2, -0.3], [0, 0, 0]).p
    assert found == np.mean([round(sum(terms), 9) >= 0 for terms in signed])


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
    assert test.p == pytest.approx(greater, abs=0.003), "3 standard deviations of 100,000 draws"
    assert paired_test(-differences, np.zeros(25)).p > 0.9
    assert paired_test(differences, np.zeros(25)) == test, "the draws are the same every time"
    clear = paired_test(np.arange(1.0, 41.0), np.zeros(40))
    assert clear == (1 / 100_001, 1 / 100_001), "the choice seen counts"
    assert paired_test([1, 2, 3] + [0] * 30, [0] * 33).p == 1 / 8, "exact, as 3 pairs differ"


def test_samples_that_are_too_large_to_count() -> None:
    """Against scipy, and against the exact test just below the limit."""
    generator = np.random.default_rng(1)
    a, b = generator.normal(0.2, 1, 150).round(1), generator.normal(0, 1, 151).round(1)
    test = unpaired_test(a, b)
    theirs = stats.mannwhitneyu(a, b, alternative="greater", method="asymptotic")
    assert test.p == pytest.approx(theirs.pvalue)
    assert 0 < test.least < 1e-40
    assert unpaired_test(np.sort(b)[::-1] + 99, b).p == unpaired_test(b + 99, b).least
    exact = unpaired_test(a[:100], b[:101])
    near = stats.mannwhitneyu(a[:100], b[:101], alternative="greater", method="asymptotic").pvalue
    assert exact.p != near
    assert exact.p == pytest.approx(near, rel=0.02)
    assert unpaired_test([1.0] * 200, [1.0] * 200) == (1, 1)


def brute_unpaired(a: list[float], b: list[float]) -> float:
    both = a + b

    def u(chosen: tuple[int, ...]) -> float:
        rest = [both[i] for i in range(len(both)) if i not in chosen]
        return sum((both[i] > y) + 0.5 * (both[i] == y) for i in chosen for y in rest)

    seen = u(tuple(range(len(a))))
    every = [u(chosen) for chosen in itertools.combinations(range(len(both)), len(a))]
    return float(np.mean([value >= seen for value in every]))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 3), (3, 7), (7, 3), (2, 9)])
@pytest.mark.parametrize("ties", [False, True])
def test_unpaired_test_against_brute_force(n: int, m: int, ties: bool) -> None:
    generator = np.random.default_rng(10 * n + m)
    a, b = generator.normal(0.5, 1, n), generator.normal(0, 1, m)
    first, second = (a.round().tolist(), b.round().tolist()) if ties else (a.tolist(), b.tolist())
    test = unpaired_test(first, second)
    assert test.p == pytest.approx(brute_unpaired(first, second))
    if not ties:
        assert test.least == pytest.approx(1 / math.comb(n + m, n))
        assert test.p == pytest.approx(stats.mannwhitneyu(first, second, alternative="greater", method="exact").pvalue)


def test_unpaired_test_of_few_seeds_against_many_random_runs() -> None:
    generator = np.random.default_rng(0)
    seeds, runs = generator.normal(1, 1, 5), generator.normal(0, 1, 100)
    for first, second in ((seeds, runs), (runs, seeds)):
        test = unpaired_test(first, second)
        theirs = stats.mannwhitneyu(first, second, alternative="greater", method="exact")
        assert test == pytest.approx((theirs.pvalue, 1 / math.comb(105, 5)))
    assert unpaired_test([1, 1], [1, 1, 1]) == (1.0, 1.0), "equal values can never tell"


def test_kendall_against_its_formula() -> None:
    a, b = [1, 2, 2, 3], [1, 3, 2, 3]
    # pairs: 5 comparable in a, 5 in b; concordant 4, discordant 0
    assert kendall(a, b) == pytest.approx(4 / math.sqrt(5 * 5))
    assert kendall([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
