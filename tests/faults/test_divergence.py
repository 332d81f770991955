"""Losses and gradients that are no numbers: found within the step, explained, and undone if that is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from poise.engine.checkpointer import RunControl
from poise.engine.divergence import Diverged
from poise.engine.events import Noted
from poise.engine.run import RunFolder
from poise.engine.search import SearchTrainer

SETTINGS: dict[str, Any] = {
    "space.channels": 2,
    "space.cells": 1,
    "search.epochs": 3,
    "search.images_per_half": 40,
    "search.batch_size": 20,
    "search.weights.learning_rate": 0.08,
    "train.epochs": 3,
    "train.channels": 2,
    "train.cells": 1,
    "train.batch_size": 500,
}


def search(out: Path | None, method: Any = "darts", more: dict[str, Any] | None = None, **rest: Any) -> Any:
    settings = SETTINGS | (more or {})
    return poise.search("digits", space="nasbench201", method=method, settings=settings, out=out, device="cpu", **rest)


def diverges_above(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    """A search whose second epoch bears no learning rate above this one."""

    given = SearchTrainer._given

    def diverging(self: SearchTrainer, *rest: Any) -> Any:
        found = given(self, *rest)
        if found.progress.epoch == 1 and found.learning_rate > rate:
            raise Diverged("diverged on purpose")
        return found

    monkeypatch.setattr(SearchTrainer, "_given", diverging)


def test_rollback_halves_the_rate_until_it_goes_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverges_above(monkeypatch, 0.02)  # the cosine gives 0.0603 there: two halvings
    notes: list[str] = []
    found = search(
        tmp_path / "run",
        control=RunControl(rollbacks=3),
        listen=lambda event: notes.append(event.message) if isinstance(event, Noted) else None,
    )
    assert sum("half the learning rate" in note for note in notes) == 2
    rates = [record["learning_rate"] for record in found.history]
    assert rates[0] == pytest.approx(0.08)
    assert rates[1] == pytest.approx((0.001 + 0.079 * 0.75) / 4)
    assert [record["epoch"] for record in RunFolder(tmp_path / "run").history()] == [0, 1, 2]


def test_a_run_that_is_not_saved_starts_again_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    quarter = {"search.weights.learning_rate": 0.08 / 4, "search.weights.final_learning_rate": 0.001 / 4}
    expected = search(None, more=quarter)
    diverges_above(monkeypatch, 0.02)
    found = search(None, control=RunControl(rollbacks=2))
    assert [record["learning_rate"] for record in found.history] == [r["learning_rate"] for r in expected.history]
    assert all(torch.equal(found.alphas[name], expected.alphas[name]) for name in expected.alphas)


def test_rollback_gives_up_after_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverges_above(monkeypatch, 0.0)
    notes: list[str] = []
    with pytest.raises(Diverged):
        search(
            tmp_path / "run",
            control=RunControl(rollbacks=3),
            listen=lambda event: notes.append(event.message) if isinstance(event, Noted) else None,
        )
    assert sum("half the learning rate" in note for note in notes) == 3


def test_without_rollback_the_checkpoint_is_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        diverges_above(patch, 0.0)
        with pytest.raises(Diverged):
            search(tmp_path / "run")
    found = poise.resume(tmp_path / "run")  # what made it diverge is mended
    whole = search(tmp_path / "whole")
    assert isinstance(found, poise.SearchResult)
    assert all(torch.equal(found.alphas[name], whole.alphas[name]) for name in whole.alphas)


def test_training_says_so_too(tmp_path: Path) -> None:
    search(tmp_path / "run")
    huge = {"train.weights.learning_rate": 1e30, "train.weights.clip": 1e30}
    with pytest.raises(Diverged, match=r"step \d of epoch \d of the training: .*train.weights.learning_rate"):
        poise.train(tmp_path / "run", settings=huge, out=tmp_path / "net")
