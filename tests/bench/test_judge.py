"""Results against a small table worked out by hand."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from bench_support import BEST, OPERATIONS, WORST, text_of, value_of

from poise.bench.contestants.searching import random_genotype
from poise.bench.guarding import Watched, foresight, guards, replay, tally
from poise.bench.judge import Judged, _against_chance, at_time, judge, standings
from poise.bench.protocol import PROTOCOLS
from poise.bench.result import Result, compact, read_result
from poise.errors import Refused
from poise.genotype import Genotype
from poise.methods.guard import NoGuard, SkipGuard
from poise.spaces.nasbench201 import NasBench201
from poise.truth.table import Notation, Table

SMOKE = PROTOCOLS["smoke"]
SPACE = NasBench201()
CELLS = list(itertools.product(OPERATIONS, repeat=6))
VALUES = np.array([value_of(cell) for cell in CELLS])
SKIPS = text_of(("skip_connect",) * 6)


@pytest.fixture(scope="module")
def table() -> Table:
    columns = {"c10_test_200": VALUES, "c100_test_200": VALUES / 2, "in16_test_200": VALUES / 3}
    return Table("nasbench201", [text_of(cell) for cell in CELLS], columns, Notation(SPACE.describe, Genotype.parse))


def result(text: str, contestant: str = "darts", seed: int = 0, **rest: object) -> Result:
    given = {"seconds": {"search": 10.0, "selection": 2.0}, "selection": "magnitude"} | rest
    return Result(contestant=contestant, seed=seed, genotype=Genotype.parse(text), **given)  # type: ignore[arg-type]


def epochs(*texts: str) -> list[dict[str, object]]:
    return [{"epoch": number, "genotype": compact(Genotype.parse(text))} for number, text in enumerate(texts)]


def test_one_result(table: Table) -> None:
    found = judge(result(SKIPS, epochs=epochs(BEST, SKIPS)), table, SMOKE)
    best, skips = 10 + 9 * 6.15, 10 + 6.15
    assert found.value == pytest.approx(skips)
    assert found.curve == pytest.approx((best, skips))
    assert found.regret == pytest.approx(best - skips)
    assert found.checks == pytest.approx({"c100_test_200": skips / 2, "in16_test_200": skips / 3})
    assert found.percentile == pytest.approx(100 * np.mean(skips - 1e-9 > VALUES))
    assert found.declined
    assert not judge(result(BEST, epochs=epochs(SKIPS, BEST)), table, SMOKE).declined
    assert found.tau is None


def test_tau_is_that_of_the_supernet_and_the_truth(table: Table) -> None:
    ranked = [[compact(Genotype.parse(text)), score, 1.0] for text, score in ((BEST, 0.9), (SKIPS, 0.5), (WORST, 0.1))]
    assert judge(result(BEST, ranking=ranked), table, SMOKE).tau == pytest.approx(1)
    turned = [[text, -score, loss] for text, score, loss in ranked]
    assert judge(result(BEST, ranking=turned), table, SMOKE).tau == pytest.approx(-1)
    assert judge(result(BEST, ranking=[[text, 0.5, 1.0] for text, _, _ in ranked]), table, SMOKE).tau is None


def test_more_seeds_than_can_be_counted_exactly(table: Table) -> None:
    results = [result(text, name, seed) for name, text in (("darts", WORST), ("pc-darts", BEST)) for seed in range(25)]
    best, _ = standings(results, table, SMOKE)
    assert best.against_base == pytest.approx((1 / 100_001, 1 / 100_001))


def test_chance_of_many_seeds_is_that_of_the_normal_distribution() -> None:
    """400 draws, 100,000 times, not all at once. 0.02 is one standard deviation, 0.4 / 20, of their mean."""
    values = np.random.default_rng(0).normal(0, 0.4, 5000)
    values -= values.mean()
    values *= 0.4 / values.std()
    tracemalloc.start()
    found = _against_chance([0.02] * 400, values)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == pytest.approx(0.1587, abs=0.004)
    assert most < 250e6


def test_standings(table: Table) -> None:
    found = standings(
        [
            *(result(text, "darts", seed) for seed, text in enumerate((SKIPS, WORST, SKIPS))),
            *(result(BEST, "lambda-darts", seed) for seed in (2, 0, 1)),
            *(
                result(BEST, "random", seed, selection="", trace=[
                    {"seconds": 5.0, "genotype": compact(Genotype.parse(WORST))},
                    {"seconds": 11.0, "genotype": compact(Genotype.parse(SKIPS))},
                    {"seconds": 13.0, "genotype": compact(Genotype.parse(BEST))},
                ]) for seed in range(4)
            ),
        ],
        table, SMOKE,
    )  # fmt: skip
    rows = {standing.contestant: standing for standing in found}
    assert [standing.contestant for standing in found][-1] == "darts"
    winner, base, chance = rows["lambda-darts"], rows["darts"], rows["random"]
    assert [run.result.seed for run in winner.runs] == [0, 1, 2]
    assert winner.against_base == pytest.approx((1 / 8, 1 / 8)), "three seeds, all better: 1 of 2^3"
    assert base.against_base is None
    assert winner.seconds == 12.0
    assert winner.against_random == pytest.approx((1 / 35, 1 / 35)), (
        "at 12 s random search held the skips: 1 of C(7, 3)"
    )
    assert base.against_random is not None
    assert base.against_random[0] > 0.5
    assert chance.against_random is None
    assert base.summary.worst == pytest.approx(10)
    assert base.summary.std == pytest.approx(np.std([6.15, 0, 6.15], ddof=1))
    assert winner.against_chance == pytest.approx(1 / 100_001)
    assert base.against_chance > 0.99


def test_random_search_at_a_time(table: Table) -> None:
    trace = [{"seconds": s, "genotype": compact(Genotype.parse(t))} for s, t in ((5.0, WORST), (8.0, BEST))]
    run = judge(result(BEST, "random", selection="", trace=trace), table, SMOKE)
    assert [at_time(run, seconds) for seconds in (1, 5, 7.9, 8, 99)] == pytest.approx([10, 10, 10, 65.35, 65.35])


def test_a_guard_is_replayed(table: Table) -> None:
    def run(shares: list[float], *texts: str) -> Judged:
        records = [each | {"skip_share": share} for each, share in zip(epochs(*texts), shares, strict=True)]
        return judge(result(texts[-1], epochs=records), table, SMOKE)

    collapsing = run([0.0, 0.2, 0.9, 1.0], WORST, BEST, SKIPS, SKIPS)
    recovering = run([0.9, 0.0, 0.0], SKIPS, WORST, BEST)
    sound = run([0.0, 0.1], SKIPS, BEST)
    best, skips = 65.35, 16.15
    found = {action: replay(SkipGuard(0.5, action), collapsing) for action in ("warn", "keep", "stop")}  # type: ignore[arg-type]
    assert [each.fired for each in found.values()] == [2, 2, 2]
    assert [each.kept for each in found.values()] == [3, 1, 1]
    assert [each.value for each in found.values()] == pytest.approx([skips, best, best])
    assert replay(SkipGuard(0.5, "keep"), recovering).kept == 2
    assert replay(SkipGuard(0.5, "stop"), recovering).kept == 0, "it stops at once, and has nothing better"
    staged = [each | {"stage": stage} for each, stage in zip(recovering.result.epochs, (0, 1, 1), strict=True)]
    later = judge(result(BEST, epochs=staged), table, SMOKE)
    assert replay(SkipGuard(0.5, "stop"), later) == Watched(later, None, 2), "it does not see the first stage"
    late = [each | {"stage": stage} for each, stage in zip(collapsing.result.epochs, (0, 1, 1, 1), strict=True)]
    ended = judge(result(SKIPS, epochs=late), table, SMOKE)
    assert replay(SkipGuard(0.5, "keep"), ended) == Watched(ended, 2, 1), "epochs are counted from the first stage on"
    counted = tally(SkipGuard(0.5, "keep"), [collapsing, recovering, sound])
    assert (counted.declined, counted.caught, counted.fine, counted.false_alarms) == (1, 1, 2, 1)
    assert counted.without == pytest.approx((skips + 2 * best) / 3)
    assert counted.kept == pytest.approx(best)
    assert counted.epoch == pytest.approx((3 + 1) / 2)
    never = tally(NoGuard(), [collapsing, sound])
    assert (never.caught, never.false_alarms) == (0, 0)
    assert never.kept == never.without


def test_guards_are_told_by_what_the_records_hold_and_searches_count_once(table: Table) -> None:
    def run(contestant: str, selection: str = "magnitude", **more: float) -> Judged:
        records = [each | {"skip_share": share} | more for each, share in zip(epochs(BEST, SKIPS), (0, 1), strict=True)]
        return judge(result(SKIPS, contestant, selection=selection, epochs=records), table, SMOKE)

    both = guards([run("a"), run("a", "threshold"), run("b", eigenvalue=1.0)])
    assert {kind: found.declined for kind, found in both.items()} == {"skips": 2, "eigenvalue": 1}
    assert both["skips"].kept == pytest.approx(65.35)
    assert "none" not in both
    measured = judge(result(BEST, "c", selection="perturbation"), table, SMOKE)
    assert guards([measured]) == {}


def test_foresight_by_hand(table: Table) -> None:
    def run(shares: list[float], *texts: str) -> Judged:
        records = [each | {"share": share} for each, share in zip(epochs(*texts), shares, strict=True)]
        return judge(result(texts[-1], epochs=records), table, SMOKE)

    def share(record: Mapping[str, Any]) -> float:
        return float(record["share"])

    losing = run([0.6, 0.2, 0.9], BEST, BEST, SKIPS)
    holding = run([0.1, 0.2, 0.9], SKIPS, BEST, BEST)
    assert foresight(share, [losing, holding]) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert foresight(lambda record: -share(record), [losing, holding]) == pytest.approx(0.5 / 4)
    assert foresight(share, [holding]) is None
    trace = [{"seconds": 5.0, "genotype": compact(Genotype.parse(BEST))}]
    other = judge(result(BEST, "random", selection="", trace=trace), table, SMOKE)
    assert foresight(share, [losing, holding, other]) == foresight(share, [losing, holding]), "it has no epochs"
    unknown = run([float("nan"), 0.2, 0.9], BEST, BEST, SKIPS)
    assert foresight(share, [unknown, holding]) == pytest.approx((1 + 0.5) / 2)


def test_another_space_is_refused(table: Table) -> None:
    other = Table("darts", ['{"a": 1}'], {"c10_test_200": np.ones(1)})
    with pytest.raises(Refused, match="table is of space 'darts', the bench searches 'nasbench201'"):
        judge(result(BEST), other, SMOKE)


def test_random_architectures_are_uniform_and_reach_what_order_statistics_say() -> None:
    worth = dict(zip(map(text_of, CELLS), VALUES, strict=True))
    generator = torch.Generator().manual_seed(0)
    drawn = [SPACE.describe(random_genotype("nasbench201", SPACE.groups, generator)) for _ in range(4000)]
    values = np.array([worth[text] for text in drawn])
    assert values.mean() == pytest.approx(VALUES.mean(), abs=4 * VALUES.std() / 4000**0.5)
    best_of_ten = values.reshape(400, 10).max(axis=1)
    below = np.arange(len(CELLS) + 1) / len(
        CELLS
    )  # the share of the worst k; all ten are among them with its tenth power
    expected = np.diff(below**10) @ np.sort(VALUES)
    assert best_of_ten.mean() == pytest.approx(expected, abs=4 * best_of_ten.std() / 400**0.5)


def test_a_result_survives_its_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    written = result(BEST, epochs=epochs(SKIPS, BEST), ranking=[[compact(Genotype.parse(BEST)), 0.5, 1.0]])
    path = tmp_path / written.file_name
    path.write_text(written.to_json())
    assert read_result(path).to_json() == written.to_json()
    for damaged in ("", "[]", "{}", written.to_json().replace('"seed": 0', '"seed": "x"')):
        path.write_text(damaged)
        with pytest.raises(Refused, match=path.name.split("--")[0]):
            read_result(path)
