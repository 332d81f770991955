"""How decided a run is: said at its end, kept in its folder, shown; the same however often the run was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

import poise
from poise.diagnostics.decidedness import decidedness
from poise.engine.checkpointer import RunControl
from poise.engine.events import Event, Noted
from poise.engine.run import RunFolder
from poise.spaces.space import kept_of
from poise.workflow.show import run_tables, show_search

TINY: dict[str, Any] = {
    "search.epochs": 4, "search.images_per_half": 40, "search.batch_size": 20, "search.alphas.learning_rate": 0.01,
}  # fmt: skip
CELL = {"space.channels": 2, "space.cells": 1}


def module() -> nn.Module:
    torch.manual_seed(0)

    def layer(group: str | None) -> poise.Choice:
        return poise.Choice({"tanh": nn.Tanh(), "line": nn.Linear(16, 16), "same": nn.Identity()}, group=group)

    shared = [layer("shared"), layer("shared")]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), layer(None), *shared, nn.Linear(16, 10))


def search(target: Any = None, **given: Any) -> tuple[poise.SearchResult, list[str]]:
    notes: list[str] = []

    def listen(event: Event) -> None:
        notes.extend([event.message] if isinstance(event, Noted) else [])

    settings = TINY | given.pop("settings", {})
    data = ("digits",) if target is None else (target, "digits")
    return poise.search(*data, settings=settings, device="cpu", listen=listen, **given), notes


@pytest.mark.parametrize("method", ["darts", "poise"])
def test_a_module_of_your_own_has_one_choice_per_group(method: str) -> None:
    result, notes = search(module(), method=poise.methods.darts() if method == "darts" else method)
    found = result.decidedness
    assert [lead.group for lead in found.leads] == [group.name for group in result.groups]
    assert len(found.leads) == 2
    kept = kept_of(result.genotype, result.groups)
    relaxation = result.settings.method.relaxation
    assert found == decidedness(result.history, result.alphas, result.groups, relaxation, kept)
    said = [note for note in notes if note.startswith(str(found))]
    assert len(said) == (1 if found.barely else 0)


def test_a_run_says_how_decided_it_is_wherever_it_is_shown(tmp_path: Path) -> None:
    result, notes = search(space="nasbench201", method="poise", out=tmp_path, settings=CELL)
    found, folder = result.decidedness, RunFolder(tmp_path)
    assert found.barely, "otherwise this test sees nothing"
    assert json.loads((tmp_path / "decidedness.json").read_text()) == found.to_dict()
    (note,) = [note for note in notes if "barely" in note]
    assert note.startswith(f"{found}; chance alone")
    again = poise.resume(tmp_path)
    assert isinstance(again, poise.SearchResult)
    assert again.decidedness == found
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(run_tables(folder, show_search(folder)))
    shown = console.export_text()
    assert shown.count("barely: or ") == len(found.barely)
    assert found.told[:60] in shown
    page = (tmp_path / "report.html").read_text()
    assert found.told in page
    assert page.count("barely: or ") == len(found.barely)


def test_a_run_that_was_stopped_is_as_decided(tmp_path: Path) -> None:
    whole, _ = search(module(), out=tmp_path / "whole")
    for _ in range(100):
        visits = iter([False, False])
        try:
            stopped, _ = search(
                module(), out=tmp_path / "stopped", resume=True, control=RunControl(1e9, lambda v=visits: next(v, True))
            )
            break
        except poise.Stopped:
            continue
    assert stopped.decidedness == whole.decidedness
    files = [(tmp_path / name / "decidedness.json").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1]


def test_of_a_search_in_stages_the_last_one_counts() -> None:
    settings = {**CELL, "curriculum.deeper": [0, 0, 0], "search.epochs": 15, "search.images_per_half": 20}
    result, _ = search(space="nasbench201", method="p-darts", settings=settings)
    left = {g.name: {row.name: row.candidates for row in g.rows} for g in result.groups}
    assert result.decidedness.epochs == 4, "of 5 the first two train no alphas: one of them is where they start"
    assert {lead.row for lead in result.decidedness.leads} >= set(result.genotype.choices["cell"])
    assert all({lead.kept, lead.rival} <= set(left["cell"][lead.row]) for lead in result.decidedness.leads)


def test_where_the_alphas_do_not_decide_nothing_is_said(tmp_path: Path) -> None:
    small = {**CELL, "selection.tune_epochs": 0}
    blank, notes = search(space="nasbench201", method="blank-pt", settings=small)
    assert blank.decidedness.unknown == "the alphas are never trained"
    assert not any("decided" in note for note in notes)

    run, notes = search(space="nasbench201", method="darts-pt", settings=small, out=tmp_path)
    assert run.decidedness.unknown == "selection=perturbation goes by what it measures, not by the alphas"
    assert not any("decided" in note for note in notes)
    file = tmp_path / "decidedness.json"
    poise.select(tmp_path, "magnitude")
    assert json.loads(file.read_text())["unknown"] is None
    assert len(json.loads(file.read_text())["choices"]) == 6
    poise.select(tmp_path, "perturbation", settings={"selection.tune_epochs": 0})
    assert json.loads(file.read_text())["choices"] == []
    assert run.decidedness.unknown in (tmp_path / "report.html").read_text()


def test_a_short_search_says_that_it_cannot_tell() -> None:
    result, notes = search(module(), settings={"search.epochs": 2})
    assert result.decidedness.leads == ()
    assert "how decided the choices are is not known: that takes 3 epochs" in notes[-1]


def test_a_damaged_history_or_file(tmp_path: Path) -> None:
    search(space="nasbench201", method="darts", settings=CELL, out=tmp_path)
    file, history = tmp_path / "decidedness.json", tmp_path / "history.jsonl"
    records = [json.loads(line) for line in history.read_text().splitlines()]
    for alphas in ({}, {"cell": [[1, 2], [3]]}, {"cell": [[1, 2]]}, 3):
        damaged = [*records[:3], records[3] | {"alphas": alphas}]
        history.write_text("".join(json.dumps(record) + "\n" for record in damaged))
        poise.select(tmp_path, "magnitude")
        assert json.loads(file.read_text())["unknown"] == "the run's history is damaged", alphas
    file.write_text("{}")
    with pytest.raises(poise.Refused, match=r"decidedness\.json is damaged: it does not describe"):
        show_search(RunFolder(tmp_path))
    file.unlink()
    show_search(RunFolder(tmp_path))
    assert "it was not measured when this run ended" in (tmp_path / "report.html").read_text()
