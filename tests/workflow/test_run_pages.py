"""The pages of runs: written while they go on, right when they end, and never in the way of a run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from poise.config.resolve import resolve
from poise.engine.checkpointer import RunControl
from poise.engine.events import EpochEnded, Event, Noted
from poise.engine.notes import note, notes_of, noting
from poise.engine.run import RunFolder
from poise.engine.unsaved import Unsaved
from poise.report.page import Page
from poise.selection.magnitude import Magnitude, by_magnitude
from poise.selection.perturbation import PerturbationRule
from poise.spaces.space import genotype_of
from poise.workflow import search_page as module
from poise.workflow.live import EVERY, LivePage
from poise.workflow.moments import timeline
from poise.workflow.sentences import accuracy_interval
from poise.workflow.show import renew_page

TINY: dict[str, Any] = {
    "search.epochs": 2, "search.images_per_half": 64, "search.batch_size": 32, "space.channels": 2, "space.cells": 1,
    "search.alphas.learning_rate": 0.5,
}  # fmt: skip
NET = {"train.channels": 2, "train.cells": 1, "train.epochs": 1, "train.batch_size": 64}


def search(out: Path | None, **given: Any) -> poise.SearchResult:
    settings = TINY | given.pop("settings", {})
    form: dict[str, Any] = {"space": "nasbench201", "method": "darts", "preset": "demo", "device": "cpu"} | given
    return poise.search("digits", settings=settings, out=out, **form)


def words(folder: Path) -> str:
    """What a page says, scripts and styles aside."""
    text = (folder / "report.html").read_text()
    text = re.sub(r"<(script|style|template)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def state(folder: Path) -> str:
    found = re.search(r'data-state="(\w+)"', (folder / "report.html").read_text())
    assert found is not None
    return found[1]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_live_page_is_written_seldom_and_takes_at_most_a_hundredth_of_the_time(tmp_path: Path) -> None:
    folder, clock, written = RunFolder.create(tmp_path / "run", "search", "seed: 0\n", ""), Clock(), list[float]()

    def page(run: RunFolder, state: Any) -> Page:
        written.append(clock.now)
        clock.now += 0.25
        return Page("run", state=state)

    with LivePage(folder, page, clock) as live:
        for _ in range(100):
            live.visit()
            clock.now += 1.0
    assert written[0] == 100.0, "after the first epoch at once"
    gaps = [second - first for first, second in pairwise(written)]
    assert min(gaps) >= max(EVERY, 0.25 / 0.01)
    assert len(written) == 4
    assert state(folder.path) == "running"
    with pytest.raises(KeyError), LivePage(folder, page, clock):
        raise KeyError
    assert state(folder.path) == "stopped"


def test_a_page_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no page today")

    monkeypatch.setattr(module, "_facts", broken)
    LivePage(RunFolder.create(tmp_path / "run", "search", "", ""), broken).visit()
    LivePage(Unsaved(), broken).visit()


def test_a_search_has_a_page_after_its_first_epoch_and_says_when_it_stopped(tmp_path: Path) -> None:
    run, seen = tmp_path / "run", list[tuple[str, str]]()

    def hear(event: Event) -> None:
        if isinstance(event, EpochEnded):
            seen.append((state(run), words(run)))

    visits = iter([False] * 3)
    with pytest.raises(poise.Stopped):
        search(run, listen=hear, control=RunControl(1e9, lambda: next(visits, True)))
    assert seen[0][0] == "running"
    assert "Epoch 1 of 2 is done" in seen[0][1]
    assert "The architecture so far" in seen[0][1]
    assert state(run) == "stopped"
    assert f"poise resume {run}" in words(run)
    search(run, resume=True)
    assert state(run) == "finished"
    assert "2 epochs in" in words(run)
    assert f"poise train {run}" in words(run)


def test_nothing_is_written_for_a_search_that_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    search(None)
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_a_search_knows_what_was_trained_in_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = search(run, settings=NET)
    size = json.loads((run / "size.json").read_text())
    said = words(run)
    assert "search accuracy" in said
    assert "of the supernet, not of a trained network" in said
    assert "ground truth" in said
    about = RunFolder(run).environment
    assert about["torch"] == str(torch.__version__)
    assert about["threads"] == str(torch.get_num_threads())
    network = poise.train(found, settings=NET, out=run / "net")
    accuracy = network.result["test_accuracy"]
    assert {name: network.result[name] for name in size} == size, "as of the network that was trained"
    for folder, what in ((run, "Trained from scratch"), (run / "net", "trained from scratch on digits, reaches")):
        said = words(folder)
        assert what in said
        assert f"{100 * accuracy:.2f}%" in said
        assert re.search(r"95% interval [\d.]+ to [\d.]+%, 359 tested", said)
    assert f"poise export {run / 'net'} --to onnx" in words(run)
    assert 'href="net/report.html"' in (run / "report.html").read_text()
    assert 'href="../report.html"' in (run / "net/report.html").read_text()
    assert "Class by class" in words(run / "net")
    before = (run / "report.html").read_bytes()
    (run / "genotype.json").write_text("{")
    renew_page(RunFolder(run / "net"))
    assert (run / "report.html").read_bytes() == before, "a page that cannot be made stays as it was"


def test_an_interval_is_wilson_s() -> None:
    settings = resolve(space="nasbench201", preset="demo", data="digits")
    assert accuracy_interval({"test_accuracy": 0.9}, settings, 100) == "95% interval 82.6 to 94.5%, 100 tested"
    assert accuracy_interval({"test_accuracy": 0.9}, settings, None) == ""
    other = resolve(space="nasbench201", preset="demo", data="digits", task="multilabel")
    assert accuracy_interval({"test_accuracy": 0.9}, other, 100) == "", "no share of predictions that are right"


def test_moments_are_what_the_rule_would_have_taken() -> None:
    found = search(None, settings={"search.epochs": 3})
    groups, method = found.groups, found.settings.method
    line = timeline(found.history, groups, method, "nasbench201", (found.genotype, found.alphas))
    assert line is not None
    assert [moment.label for moment in line.moments] == [*(f"After epoch {e}" for e in (1, 2, 3)), "What was selected"]
    for moment, record in zip(line.moments, found.history, strict=False):
        alphas = torch.tensor(record["alphas"]["cell"])
        assert torch.allclose(moment.mixture["cell"], alphas.softmax(-1), atol=1e-6)
        assert moment.genotype == genotype_of("nasbench201", by_magnitude(groups, moment.mixture), groups)
    assert line.moments[-1].genotype == found.genotype
    assert "selection by magnitude would take" in line.note
    measuring = timeline(found.history, groups, replace(method, selection=PerturbationRule()), "nasbench201")
    assert measuring is not None
    assert measuring.moments[1].genotype == line.moments[1].genotype
    assert "in the end perturbation decides" in measuring.note
    few = timeline(found.history, groups, replace(method, selection=Magnitude(skips=0)), "nasbench201")
    assert few is not None
    other = [record | {"alphas": {"cell": [[0.0, 1.0]]}} for record in found.history]
    assert timeline(other, groups, method, "nasbench201") is None, "of another stage"
    assert timeline([{"epoch": 0}, {"epoch": 1, "alphas": 3}], groups, method, "nasbench201") is None


def test_what_a_perturbation_went_by_is_kept_and_shown_until_another_rule_selects(tmp_path: Path) -> None:
    search(tmp_path, method="darts-pt", settings={"selection.tune_epochs": 0})
    found = json.loads((tmp_path / "decisions.json").read_text())
    assert found["rule"] == "perturbation"
    assert len(found["decisions"]) == 6
    first = found["decisions"][0]
    worst = min(first["removed"], key=lambda name: first["removed"][name]["quality"])
    assert first["removed"][first["kept"][0]]["quality"] == first["removed"][worst]["quality"]
    said = words(tmp_path)
    assert "What was decided, and by what" in said
    assert f"{100 * first['removed'][first['kept'][0]]['quality']:.2f}%" in said
    poise.select(tmp_path, "magnitude")
    assert not (tmp_path / "decisions.json").exists()
    assert "What was decided, and by what" not in words(tmp_path)


def test_notes_are_kept_once_until_their_part_begins_again(tmp_path: Path) -> None:
    folder, heard = RunFolder.create(tmp_path / "run", "search", "", ""), list[Event]()
    hear = noting(folder, "data", heard.append)
    for text in ("one", "two", "one"):
        hear(Noted(text))
    note(folder, "search", "three")
    assert notes_of(folder) == ["one", "two", "three"]
    assert [event.message for event in heard if isinstance(event, Noted)] == ["one", "two", "one"]
    noting(folder, "data", heard.append)
    assert notes_of(folder) == ["three"]
    (folder.path / "notes.json").write_text("[")
    assert notes_of(folder) == []
    note(Unsaved(), "search", "nobody keeps it")
