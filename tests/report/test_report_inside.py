"""What is said of searches without ground truth, by hand."""

from __future__ import annotations

import pytest

from poise.bench.inside import agreement, inside_rows
from poise.bench.judge import Judged, Standing
from poise.bench.result import Result
from poise.bench.statistics import Summary
from poise.genotype import Genotype


def cell(text: str) -> Genotype:
    """``3 s n 1 p 3``: the six edges of a NAS-Bench-201 cell."""
    names = {"n": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3", "p": "avg_pool_3x3"}
    a, b, c, d, e, f = (names[letter] for letter in text.split())
    return Genotype.parse(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")


def test_agreement_by_hand() -> None:
    first, second, third = cell("3 3 s s n n"), cell("3 1 s n n n"), cell("1 1 1 1 1 1")
    assert agreement([first, first]) == 1
    assert agreement([first, second]) == pytest.approx(2 / 4), "an edge that both leave out says nothing"
    assert agreement([second, first]) == agreement([first, second])
    assert agreement([first, second, third]) == pytest.approx((2 / 4 + 0 + 1 / 6) / 3)
    assert agreement([first]) is None
    nothing = cell("n n n n n n")
    assert agreement([nothing, nothing]) == 1


def standing(contestant: str, selection: str, *runs: Result, curve: float = 90.0) -> Standing:
    judged = tuple(Judged(run, 90.0, {}, 50.0, 4.0, (curve,) * len(run.epochs), None) for run in runs)
    values = Summary.of([90.0] * len(runs))
    return Standing(
        f"{contestant} · {selection}",
        contestant,
        selection,
        judged,
        values,
        None,
        1.0,
        None,
        None,
        None,
        None,
        1.0,
        None,
    )


def run_of(text: str, accuracy: float, selection: str = "magnitude", seed: int = 0) -> Result:
    epochs = [
        {
            "search_accuracy": value,
            "skip_share": value,
            "alignment": {"train": -value},
            "mixture": {"a": {"max": 1}},
        }
        for value in (0.0, accuracy)
    ]
    kept = epochs if selection == "magnitude" else []
    return Result("darts", selection, seed, cell(text), {"search": 1.0}, kept, (), [])


def test_rows_hold_the_means_of_the_last_epoch() -> None:
    rows = inside_rows(
        [
            standing("darts", "magnitude", run_of("3 3 3 3 3 3", 0.25), run_of("3 3 3 3 3 s", 0.5, seed=1)),
            standing("darts", "perturbation", run_of("3 3 3 3 3 3", 0.25, "perturbation")),
            standing("random", "", Result("random", "", 0, cell("s s s s s s"), {"search": 1.0})),
        ]
    )
    head = ["contestant", "agreement of seeds", "search accuracy (%)", "layer alignment", "skip share"]
    assert rows[0][:5] == head
    assert rows[1] == ["darts · magnitude", "0.83", "37.5", "-0.38", "0.38", "–", "–"]
    assert rows[2] == ["darts · perturbation", "–", "37.5", "-0.38", "0.38", "–", "–"], "its search is the same"
    assert rows[3] == ["random · ", "–", "–", "–", "–", "–", "–"]
    assert inside_rows([standing("random", "", Result("random", "", 0, cell("s s s s s s"), {"search": 1.0}))]) == []
