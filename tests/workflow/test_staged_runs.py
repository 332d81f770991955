"""What is done with a search in stages: select, show, measure, refuse; in Python and by the functions of the command
line."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

import poise
from poise.config.resolve import override, resolve
from poise.config.settings import RunSettings
from poise.config.values import plain
from poise.engine.batch_memory import Step
from poise.engine.events import Listener
from poise.engine.run import RunFolder
from poise.engine.stages import Stage
from poise.report.cell import cell_figure
from poise.report.tables import history_table
from poise.spaces import SPACES
from poise.supernet.choice import Choice
from poise.workflow.diagnose import _of_result
from poise.workflow.plan import dry_run
from poise.workflow.prepare import Preparation
from poise.workflow.search import clone
from poise.workflow.show import show_search

TINY: dict[str, Any] = {
    "space.channels": 4,
    "space.cells": 3,
    "search.epochs": 3,
    "search.images_per_half": 20,
    "search.batch_size": 20,
    "curriculum.deeper": [0, 0, 1],
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> poise.SearchResult:
    out = tmp_path_factory.mktemp("staged") / "run"
    return poise.search("digits", space="darts", method="p-darts", settings=TINY, out=out, device="cpu")


def test_a_run(found: poise.SearchResult) -> None:
    space: Any = found.space
    assert space.cells == 4
    assert [group.shape for group in found.groups] == [(14, 3), (14, 3)]
    assert {name: tuple(values.shape) for name, values in found.alphas.items()} == {
        "normal": (14, 3),
        "reduce": (14, 3),
    }
    SPACES["darts"]().check(found.genotype)
    for kind, rows in found.genotype.choices.items():
        for row, names in rows.items():
            left = next(r.candidates for g in found.groups if g.name == kind for r in g.rows if r.name == row)
            assert set(names) <= set(left), "only what was left can be chosen"
    skips = sum("skip_connect" in names for names in found.genotype.choices["normal"].values())
    assert skips <= 2
    assert found.folder is not None
    stage = json.loads((found.folder / "stage.json").read_text())
    assert (stage["format"], stage["stage"]) == ("poise.stage", 2)
    assert stage["narrowing"]["reduce"] == {row.name: list(row.candidates) for row in found.groups[1].rows}
    assert [record["stage"] for record in RunFolder(found.folder).history()] == [0, 1, 2]
    assert cell_figure(found.genotype, found.groups)
    table = history_table(RunFolder(found.folder).history())
    assert list(table.heads[:2]) == ["epoch", "stage"]
    assert [row[1] for row in table.rows] == ["1", "2", "3"]


def test_a_finished_run_is_selected_from_and_shown(found: poise.SearchResult) -> None:
    assert found.folder is not None
    limited = poise.select(found.folder, "magnitude", settings={"selection.skips": 0}).genotype
    assert not any("skip_connect" in names for names in limited.choices["normal"].values())
    assert show_search(RunFolder(found.folder)) == found.space
    again = poise.resume(found.folder)
    assert isinstance(again, poise.SearchResult)
    assert again.space == found.space
    for name, values in found.supernet.state_dict().items():
        assert torch.equal(again.supernet.state_dict()[name], values), name


def test_without_a_folder_it_is_the_same(found: poise.SearchResult) -> None:
    bare = poise.search("digits", space="darts", method="p-darts", settings=TINY, device="cpu")
    assert bare.genotype == found.genotype
    assert bare.space == found.space
    assert all(torch.equal(values, found.alphas[name]) for name, values in bare.alphas.items())


def test_a_dry_run_measures_every_stage() -> None:
    plan = dry_run(resolve(space="darts", method="p-darts", overrides=list(TINY.items()), data="digits"), steps=1)
    assert plan.steps == 3
    assert plan.alphas == 2 * 14 * 8, "the first stage has the most"
    assert plan.seconds > 0


def test_a_batch_that_fits_is_looked_for_in_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage may make it smaller than the one before left it."""
    asked: list[tuple[int, int]] = []

    def fitting(settings: RunSettings, step: Step, listen: Listener) -> RunSettings:
        asked.append((step.batch_size, sum(weight.numel() for weight in step.weights)))
        if len(asked) == 3:
            raise poise.Refused("enough")
        return override(settings, [("search.batch_size", step.batch_size - 5)])

    monkeypatch.setattr("poise.workflow.search.fitting", fitting)
    settings = TINY | {"curriculum.deeper": [0, 0, 12]}
    with pytest.raises(poise.Refused, match="enough"):
        poise.search("digits", space="darts", method="p-darts", settings=settings, device="cpu", auto_batch=True)
    assert [size for size, _ in asked] == [20, 15, 10]
    assert asked[2][1] > asked[0][1] > asked[1][1], "fewer candidates, and then more cells"


def test_what_has_no_depth_is_refused_before_data_is_read() -> None:
    module = nn.Sequential(Choice({"a": nn.Identity(), "b": nn.Tanh()}), nn.Flatten(), nn.LazyLinear(10))
    with pytest.raises(poise.Refused, match="curriculum=progressive: space 'custom' has no number of cells"):
        poise.search(module, "no such data", method="p-darts")
    with pytest.raises(poise.Refused, match="2 epochs in 3 stages"):
        poise.search("no such data", space="darts", method="p-darts", settings={"search.epochs": 2})
    with pytest.raises(poise.Refused, match=r"method\.curriculum\.deeper"):
        poise.search("no such data", space="darts", method="p-darts", settings={"curriculum.deeper": [0, 1.5, 2]})


def test_diagnostics_see_the_last_stage(found: poise.SearchResult) -> None:
    assert found.folder is not None
    saved, at_hand = (poise.diagnose(run, ["discretisation"]).numbers for run in (found.folder, found))
    assert saved["discretisation/loss"] == at_hand["discretisation/loss"] > 0
    searcher = _of_result(found, None, None)
    assert (searcher.stage, searcher.groups) == (2, found.groups)
    assert clone(searcher).stage == 2, "what a selection tunes is of the same stage"


def test_the_runs_own_rule_keeps_its_settings(found: poise.SearchResult) -> None:
    assert found.folder is not None
    again = poise.select(found.folder, "magnitude")
    assert plain(again.settings.method.selection) == {"kind": "magnitude", "skips": 2}
    assert again.genotype == found.genotype
    other = poise.select(found.folder, "threshold")
    assert other.settings.method.selection.kind == "threshold"


def test_a_target_that_is_out_of_reach_in_a_later_stage_stops_nothing() -> None:
    """Only the whole space says what is feasible."""
    sizes = {"space.channels": 4, "space.cells": 1, "train.channels": 8, "train.cells": 1, "search.epochs": 3}

    def prepared(target: float) -> Preparation:
        aim = poise.CostTarget("parameters", target)
        settings = resolve(
            space="nasbench201", method="p-darts", data="digits", overrides=list(sizes.items()), cost_target=aim
        )
        return Preparation.of(settings)

    whole = prepared(20_000)
    assert whole.aim is not None
    low, high = whole.aim.costs.range()
    assert low < 20_000 < high
    left = {row.name: ("none", "skip_connect") for row in whole.groups[0].rows}
    stage = whole.at(Stage(1, {"cell": left}))
    assert stage.aim is not None
    assert stage.aim.costs.range()[1] < 20_000
    searcher = stage.searcher()
    for found in (searcher.aim, clone(searcher).aim):
        assert found is not None
        assert found.target is stage.aim.target
        assert found.costs.range() == stage.aim.costs.range(), "the same costs, where the search runs"
    with pytest.raises(poise.Refused, match="no network here costs"):
        _ = prepared(2 * high).aim


def test_a_form_that_the_space_lacks_is_refused_before_the_search() -> None:
    with pytest.raises(poise.Refused, match="one form only"):
        poise.search("digits", space="nasbench201", method="darts", settings={"train.form": "imagenet"})
