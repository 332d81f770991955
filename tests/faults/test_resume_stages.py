"""A search in stages that is stopped within a stage, or between two, ends as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from faults_support import TINY, outcome, same, search
from test_resume import StopAfter, until_done

import poise
from poise.engine.checkpointer import RunControl
from poise.engine.run import RunFolder

STAGED = TINY | {
    "search.epochs": 6,
    "search.images_per_half": 40,
    "perturbation": "random",
    "curriculum.deeper": [0, 0, 1],
}
"""Two epochs per stage, the first of them a warm-up; an epoch is visited three times, the last time at its end."""
STEPS = 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages") / "whole"
    search(folder, STAGED, "p-darts")
    return folder


def staged(folder: Path, control: RunControl) -> Any:
    return search(folder, STAGED, "p-darts", resume=True, control=control)


@pytest.mark.parametrize("visits", [2, 2 * STEPS])
def test_search(visits: int, whole: Path, tmp_path: Path) -> None:
    """Stopped at every second visit; and at the end of every stage."""
    found, stops = until_done(lambda control: staged(tmp_path / "stopped", control), visits)
    assert stops >= 1
    same(outcome(tmp_path / "stopped"), outcome(whole))
    for name in ("stage.json", "config.yaml"):
        assert (tmp_path / "stopped" / name).read_text() == (whole / name).read_text()
    assert [record["stage"] for record in found.history] == [0, 0, 1, 1, 2, 2]
    assert not (tmp_path / "stopped" / "checkpoints").exists()


def test_a_stage_is_not_begun_twice(whole: Path, tmp_path: Path) -> None:
    """Stopped at the end of the first stage: the first epochs' records are those from before the stop."""
    with pytest.raises(poise.Stopped):
        staged(tmp_path / "run", RunControl(every=1e9, asked=StopAfter(2 * STEPS)))
    before = RunFolder(tmp_path / "run").history()
    assert [record["epoch"] for record in before] == [0, 1]
    poise.resume(tmp_path / "run")
    assert RunFolder(tmp_path / "run").history()[:2] == before, "to the second"
    same(outcome(tmp_path / "run"), outcome(whole))


def test_selection_by_perturbation(tmp_path: Path) -> None:
    """Stopped while the last stage's supernet is measured and tuned."""
    chosen = STAGED | {
        "search.epochs": 3,
        "search.images_per_half": 20,
        "curriculum.deeper": [0, 0, 0],
        "selection": "perturbation",
        "selection.tune_epochs": 1,
    }
    search(tmp_path / "whole", chosen, "p-darts")
    _, stops = until_done(
        lambda control: search(tmp_path / "stopped", chosen, "p-darts", resume=True, control=control), visits=14
    )
    assert stops >= 2
    same(outcome(tmp_path / "stopped"), outcome(tmp_path / "whole"))
    again = poise.resume(tmp_path / "whole")
    assert isinstance(again, poise.SearchResult)
    assert again.groups[0].shape == (6, 3), "a finished search comes back at its last stage"


def test_a_stage_that_cannot_be_read_is_refused(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    file = tmp_path / "run" / "stage.json"
    good = json.loads(file.read_text())
    row = good["narrowing"]["cell"]["0->1"]
    for wrong, message in (
        ("{", "not valid JSON"),
        ({**good, "version": 2}, "not of a run that this poise can read"),
        ({**good, "stage": 3}, "no stage 4"),
        ({**good, "stage": "2"}, "does not say which stage"),
        ({**good, "narrowing": {"cell": [1]}}, "does not say which stage"),
        ({**good, "narrowing": {"cell": {**good["narrowing"]["cell"], "0->1": row[:1]}}}, "2 are needed"),
    ):
        file.write_text(wrong if isinstance(wrong, str) else json.dumps(wrong))
        with pytest.raises(poise.Refused, match=message):
            poise.select(tmp_path / "run", "magnitude")
    file.unlink()
    with pytest.raises(poise.Refused, match=r"holds no stage\.json"):
        poise.select(tmp_path / "run", "magnitude")
