"""A search of NAS-Bench-201 says in the end what is known of its cell, and never looks before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from poise.cli.main import app
from poise.engine.events import EpochEnded, Event, Noted
from poise.errors import Refused
from poise.genotype import Genotype
from poise.report import known as module
from poise.report.known import known

SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
SENTENCE = (
    "in NAS-Bench-201 this cell has 54.30% test accuracy on CIFAR-10 after 200 epochs of training (16 channels, N = 5)"
    ", rank 15,231 of 15,625; that is the benchmark's figure, not one for your data"
)
SMALL = {"space.channels": 2, "space.cells": 1, "search.epochs": 2, "search.images_per_half": 64}


def search(listen: Any = lambda event: None, **more: Any) -> Any:
    given: dict[str, Any] = {"space": "nasbench201", "method": "darts", "preset": "demo", "settings": SMALL}
    return poise.search("digits", device="cpu", listen=listen, **given | more)


def notes(heard: list[Event]) -> list[str]:
    return [event.message for event in heard if isinstance(event, Noted) and "NAS-Bench-201" in event.message]


def test_the_sentence_and_the_rows() -> None:
    found = known(Genotype.parse(SKIP))
    assert found is not None
    assert found.text == SENTENCE
    assert found.rows == [
        ["data set", "test accuracy", "rank of 15,625", "better than"],
        ["CIFAR-10", "54.30%", "15,231", "2.5%"],
        ["CIFAR-100", "15.61%", "15,221", "2.6%"],
        ["ImageNet16-120", "16.32%", "14,318", "8.4%"],
    ]
    assert known(Genotype("darts", {"normal": {}, "reduce": {}})) is None


def test_a_search_says_it_as_a_note_in_its_page_and_when_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Event] = []
    found = search(heard.append, out=tmp_path / "run")
    expected = known(found.genotype)
    assert expected is not None
    assert notes(heard) == [expected.text]
    last = max(number for number, event in enumerate(heard) if isinstance(event, EpochEnded))
    assert heard.index(Noted(expected.text)) > last
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (tmp_path / "run/report.html").read_text()))
    assert "What is known of this cell" in page
    assert "not one for your data" in page
    for row in expected.rows:
        assert " ".join(row) in page
    monkeypatch.setenv("COLUMNS", "120")
    app(["show", str(tmp_path / "run")], standalone_mode=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "This cell in NAS-Bench-201, after 200 epochs of training" in said
    assert " ".join(expected.rows[1]) in said
    heard.clear()
    poise.select(found.folder, "magnitude", listen=heard.append)
    assert notes(heard) == [expected.text], "another selection says it of its own cell"


def test_other_spaces_say_nothing() -> None:
    heard: list[Event] = []
    settings = {"space.channels": 2, "space.cells": 3, "search.epochs": 1, "search.images_per_half": 64}
    search(heard.append, space="darts", settings=settings)
    assert not notes(heard)


def test_the_table_is_opened_only_once_the_cell_is_chosen_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a table that cannot even be read, a search finds the same, to the last bit, and ends well."""
    heard: list[Any] = []
    choose = poise.workflow.search.choose

    def chosen(*given: Any) -> Genotype:
        genotype = choose(*given)
        heard.append("chosen")
        return genotype

    def broken(space: str) -> Any:
        heard.append("opened")
        raise Refused("the table is damaged; install poise again")

    whole = search()
    monkeypatch.setattr(poise.workflow.search, "choose", chosen)
    monkeypatch.setattr(module, "shipped_table", broken)
    for out in (None, tmp_path / "run"):
        heard.clear()
        found = search(heard.append, out=out)
        order = [event for event in heard if isinstance(event, (str, EpochEnded))]
        assert [isinstance(event, EpochEnded) for event in order[:2]] == [True, True]
        assert order[2:4] == ["chosen", "opened"]
        assert Noted("the table is damaged; install poise again") in heard
        assert found.genotype == whole.genotype
        assert all(torch.equal(found.alphas[name], whole.alphas[name]) for name in whole.alphas)
    assert "The table is damaged; install poise again." in (tmp_path / "run/report.html").read_text()
