"""Latency tables: written, read, damaged; fitted; measured in their form (no times are judged)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from poise.costs.latency import Check, Form, LatencyTable, read_table
from poise.costs.timing import compare, fit, measure, medians, network_seconds
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import SPACES, ImageShape
from poise.spaces.space import genotype_of, kept_of
from poise.supernet.groups import searchable
from poise.supernet.narrowing import without

SPACE: Any = SPACES["nasbench201"](channels=2, cells=1)  # type: ignore[call-arg]
TASK = ImageShape(3, (8, 8), 4)


KEPT = {"cell": {"0->1": ("skip_connect",), "0->3": ("nor_conv_1x1",)}}


def table(seconds: float = 0.5) -> LatencyTable:
    group = SPACE.groups[0]
    rows = {
        row.name: {name: seconds * (index + 10 * column) for column, name in enumerate(row.candidates)}
        for index, row in enumerate(group.rows)
    }
    form = Form.of(SPACE, TASK, 2, 1)
    return LatencyTable(
        form, {"device": "cpu", "threads": 1}, 3, 7.0, {"cell": rows}, (Check(KEPT, 2.0, 1.0), Check(KEPT, 2.0, 2.2))
    )


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    file.write_text(table().to_json())
    assert read_table(file) == table()
    assert table().error == pytest.approx((0.5 + 0.1) / 2)


def test_costs_go_by_name() -> None:
    costs = table().costs(SPACE, TASK, 2, 1)
    assert costs.metric == "latency"
    assert costs.fixed == 7.0
    assert costs.candidates["cell"][2].tolist() == [1.0, 6.0, 11.0, 16.0, 21.0]
    smaller = without(SPACE.groups, ("none", "nor_conv_1x1"))
    assert costs.left(smaller).candidates["cell"][2].tolist() == [6.0, 16.0, 21.0]


@pytest.mark.parametrize(
    ("space", "task", "channels", "cells"),
    [
        (SPACES["darts"](), TASK, 2, 1),
        (SPACE, replace(TASK, size=(8, 9)), 2, 1),
        (SPACE, replace(TASK, dense=True), 2, 1),
        (SPACE, replace(TASK, outputs=5), 2, 1),
        (SPACE, TASK, 4, 1),
        (SPACE, TASK, 2, None),
    ],
)
def test_another_network_is_refused(space: Any, task: ImageShape, channels: int, cells: int | None) -> None:
    with pytest.raises(Refused, match=r"the latency table is about nasbench201 \(train.channels=2, train.cells=1\) on"):
        table().costs(space, task, channels, cells)


def test_a_missing_candidate_is_refused() -> None:
    rows = {name: dict(found) for name, found in table().candidates["cell"].items()}
    del rows["0->1"]["nor_conv_3x3"]
    with pytest.raises(Refused, match="no 'nor_conv_3x3' on 0->1"):
        replace(table(), candidates={"cell": rows}).costs(SPACE, TASK, 2, 1)


def test_damage_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    whole = json.loads(table().to_json())
    wrong = [
        {},
        {**whole, "format": "other"},
        {**whole, "fixed": -1.0},
        {**whole, "fixed": "7"},
        {**whole, "fixed": True},
        {**whole, "rounds": 0},
        {**whole, "device": []},
        {**whole, "candidates": {"cell": {"0->1": {"none": float("nan")}}}},
        {**whole, "candidates": [1]},
        {**whole, "form": {**whole["form"], "image": [3, 8]}},
        {**whole, "form": {**whole["form"], "classes": 2.5}},
        {**whole, "checks": [[1.0]]},
        {**whole, "checks": [{**whole["checks"][0], "measured": 0.0}]},
        {**whole, "checks": [{**whole["checks"][0], "choices": {"cell": {"0->1": 3}}}]},
        [whole],
    ]
    texts = [json.dumps(value) for value in wrong] + [table().to_json()[:-3], "", "\0", "[" * 100_000]
    for text in texts:
        file.write_text(text)
        with pytest.raises(Refused, match="no latency table of poise, or damaged"):
            read_table(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="damaged"):
        read_table(file)
    file.write_text(json.dumps({**whole, "version": 2}))
    with pytest.raises(Refused, match="has version 2 of latency tables; this poise reads 1"):
        read_table(file)
    with pytest.raises(Refused, match="cannot read the latency table"):
        read_table(tmp_path / "none.json")


def test_the_fit_finds_what_made_the_numbers() -> None:
    sums = [1.0, 4.0, 2.5, 3.0]
    fixed, factor = fit(sums, [2.0 + 1.5 * value for value in sums])
    assert (fixed, factor) == (pytest.approx(2.0), pytest.approx(1.5))
    assert fit(sums, [value * 2 - 0.5 for value in sums])[0] == 0.0, "never below 0"
    falling = fit(sums, [9.0 - value for value in sums])
    assert falling[1] == 0.0
    assert 5 < falling[0] < 8
    fixed, factor = fit([1.0, 2.0, 100.0], [2.0, 3.0, 150.0])  # relative errors: the largest does not outweigh all
    assert fixed + factor == pytest.approx(2.0, rel=0.1)


def test_a_table_has_every_candidate_of_the_space() -> None:
    found = measure(SPACE, TASK, channels=2, cells=1, device=torch.device("cpu"), rounds=2)
    costs = found.costs(SPACE, TASK, 2, 1)
    low, high = costs.range()
    assert 0 < low <= high < 60
    values = costs.candidates["cell"]
    assert torch.equal(values[:, 0], torch.zeros(6, dtype=torch.float64)), "none takes no time"
    assert (values[:, 1:] > 0).all()
    assert len(found.checks) == 8
    for check in found.checks:
        kept = kept_of(Genotype("nasbench201", check.choices), SPACE.groups)
        assert costs.of(kept) == pytest.approx(check.predicted, rel=1e-9)
        assert check.measured > 0
    assert [check.predicted for check in found.checks[:2]] == pytest.approx([low, high], rel=1e-9)
    assert found.device["threads"] == torch.get_num_threads()
    assert set(found.device) == {"device", "name", "torch", "threads", "clock"}


def test_calls_take_turns() -> None:
    order: list[str] = []
    found = medians([lambda: order.append("a"), lambda: order.append("b")], torch.device("cpu"), 2)
    assert order == ["a", "b"] * 5
    assert len(found) == 2
    assert min(found) >= 0


def test_a_network_is_compared_with_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def seconds(space: Any, genotypes: Any, *rest: Any) -> list[float]:
        seen.extend([*genotypes, *rest])
        return [3.0, 1.0, 16.0]

    monkeypatch.setattr("poise.costs.timing.network_seconds", seconds)
    genotype = Genotype("nasbench201", {"cell": {}})
    found = compare(table(), SPACE, genotype, TASK, torch.device("cpu"))
    assert found == (3.0, pytest.approx((1 / 2 * 16 / 2) ** 0.5))
    assert seen == [genotype, *[Genotype("nasbench201", KEPT)] * 2, TASK, 2, 1, torch.device("cpu"), 3]


def test_whole_networks() -> None:
    kept = {g.name: tuple((1,) for _ in g.rows) for g in searchable(SPACE.groups)}
    genotype = genotype_of("nasbench201", kept, SPACE.groups)
    (seconds,) = network_seconds(SPACE, [genotype], TASK, 2, 1, torch.device("cpu"), 2)
    assert 0 < seconds < 60
