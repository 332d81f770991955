"""Progress is shown where somebody watches, and nowhere else."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
import torch
from rich.console import Console

import poise
from full import FULL
from poise.engine.events import EpochEnded, Event, Noted, Started, Stepped, ignore
from poise.report.progress import Reporter, progress

EVENTS: list[Event] = [
    Started("search", 4), Stepped("search", 2),
    EpochEnded("search", {"epoch": 0, "seconds": 1.0, "train_loss": 0.5, "train_accuracy": 0.25}), Noted("mind this"),
]  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says it is a terminal, or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def said(monkeypatch: pytest.MonkeyPatch, terminal: bool, listen: Any = None) -> str:
    stream, out = Terminal(terminal), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", out)
    with progress(listen) as hear:
        for event in EVENTS:
            hear(event)
    assert out.getvalue() == "", "what a script prints is its own"
    return stream.getvalue()


def test_a_terminal_shows_a_bar_epochs_and_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, True)
    assert "search epoch 1" in text
    assert "train loss 0.500 accuracy 25.0%" in text
    assert "note: mind this" in text
    assert "2/4 steps" in text


def test_without_a_terminal_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, False) == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on build servers: it says nothing of who watches
    assert said(monkeypatch, False) == ""
    monkeypatch.setattr(sys, "stderr", None)
    with progress(None) as hear:
        assert hear is ignore


def test_a_notebook_shows_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "is_jupyter", True, raising=False)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    with progress(None) as hear:
        assert isinstance(hear, Reporter)


def test_a_listener_of_ones_own_takes_the_place_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    assert said(monkeypatch, True, heard.append) == ""
    assert heard == EVENTS
    assert said(monkeypatch, True, poise.ignore) == ""


def images() -> poise.Images:
    pixels = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return poise.Images(pixels, torch.arange(16) % 2, ("a", "b"))


@pytest.mark.parametrize("terminal", [True, False] if FULL else [True])
def test_every_call_shows_it_by_default(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run, data = tmp_path_factory.mktemp("runs") / "run", (images(), images())

    def told(call: Any) -> tuple[Any, str]:
        stream = Terminal(terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        return call(), stream.getvalue()

    search = {"search.epochs": 1, "search.batch_size": 8, "space.channels": 2, "space.cells": 1}
    train = {"train.epochs": 1, "train.batch_size": 8, "train.channels": 2, "train.cells": 1, "train.auxiliary": 0.0}
    result, text = told(lambda: poise.search(data, space="nasbench201", method="darts", settings=search, out=run))
    assert ("search epoch 1" in text) == terminal
    calls = {
        "train epoch 1": lambda: poise.train(result, data, settings=train, out=run / "net"),
        "diagnose": lambda: poise.diagnose(result, ["landscape"], data=data),
        "tune": lambda: poise.select(run, "perturbation", data=data, settings={"selection.tune_epochs": 1}),
    }
    for words, call in calls.items():
        _, text = told(call)
        assert (words in text) == terminal, words
        assert bool(text) == terminal
