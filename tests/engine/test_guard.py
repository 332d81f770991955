"""Guards decide which epoch's alphas count, and when a search ends; exact records stand in for a collapse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_support import searcher, state_of

import poise
from poise.engine.checkpointer import RunControl
from poise.engine.events import Noted
from poise.engine.search import search
from poise.errors import Refused
from poise.methods import Method
from poise.methods.guard import EigenvalueGuard, NoGuard, SkipGuard
from poise.methods.slots import Verdict


def records(*shares: float | None) -> list[dict[str, Any]]:
    return [{"epoch": number, "skip_share": share} for number, share in enumerate(shares)]


def test_no_guard_keeps_the_last() -> None:
    assert NoGuard()(records(0.1, 1.0, 1.0)) == Verdict(2)


@pytest.mark.parametrize("action", ["warn", "keep", "stop"])
def test_the_skip_guard_by_hand(action: Any) -> None:
    guard = SkipGuard(0.5, action)
    assert guard(records(0.0, 0.5, None)) == Verdict(2), "at the limit all is well, and so it is without skips"
    fired = guard(records(0.0, 0.5, 0.6, 0.4, 0.9))
    assert fired.warning is not None
    assert "after epoch 3 skip connections lead 60% of the choices (limit: 50%)" in fired.warning
    assert fired.keep == (4 if action == "warn" else 3), "the last epoch that was well"
    later = guard(records(0.0, 0.0, 0.5, 0.6)[2:]).warning
    assert later is not None
    assert "after epoch 4 skip" in later, "counted through, in a later stage too"
    assert fired.stop == (action == "stop")
    assert guard(records(0.9, 0.8)).keep == (1 if action == "warn" else 0)


@pytest.mark.parametrize("action", ["warn", "keep", "stop"])
def test_the_eigenvalue_guard_by_hand(action: Any) -> None:
    """Means of two epochs: 1, 1, 1.5, 2, 2, 3.5; against those two epochs before: 2/3, 1/2, 3/4, 4/7."""
    values = (1.0, 1.0, 2.0, 2.0, 2.0, 5.0)
    history = [{"epoch": number, "eigenvalue": value} for number, value in enumerate(values)]

    def verdict(ratio: float, epochs: int = 6) -> Verdict:
        return EigenvalueGuard(2, ratio, action)(history[:epochs])

    assert verdict(0.75, epochs=2) == Verdict(1), "before two windows have passed there is nothing to compare"
    assert verdict(0.5) == Verdict(5), "1/2 is not below 1/2"
    half, late = verdict(0.51), verdict(0.51, epochs=4)
    assert half.warning is not None
    assert half.warning == late.warning, "it fired after epoch 4"
    assert "up to epoch 4, the dominant eigenvalue of the alphas' Hessian has grown from 1 to 2" in half.warning
    assert half.keep == (5 if action == "warn" else 1), "the epoch two before"
    assert half.stop == (action == "stop")
    assert verdict(0.7).keep == (5 if action == "warn" else 0), "2/3 comes first"


def test_a_guard_without_its_diagnostic_is_refused_before_anything_is_read() -> None:
    settings = {"guard": "eigenvalue", "space.channels": 2}
    with pytest.raises(Refused, match=r"guard=eigenvalue .*search.diagnostics=\[eigenvalue\]"):
        poise.search("no such data", space="nasbench201", method="darts", settings=settings)


def test_refusals() -> None:
    with pytest.raises(Refused, match="limit"):
        SkipGuard(1.5)
    with pytest.raises(Refused, match="window"):
        EigenvalueGuard(0)
    with pytest.raises(Refused, match="ratio"):
        EigenvalueGuard(ratio=1.0)
    for made in (SkipGuard, EigenvalueGuard):
        with pytest.raises(Refused, match="action"):
            made(action="halt")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Scripted:
    """Keeps, warns and stops as it was told."""

    keep: int
    warn_after: int = 99
    stops: bool = True
    kind: str = "scripted"

    def __call__(self, history: Sequence[Any]) -> Verdict:
        after = len(history) >= self.warn_after
        return Verdict(min(self.keep, len(history) - 1), after and self.stops, "as planned" if after else None)


def test_the_kept_epoch_gives_the_alphas_and_the_last_one_the_weights() -> None:
    plain = searcher(epochs=4)
    history = search(plain)
    kept = searcher(Method(guard=Scripted(1)), epochs=4)
    again = search(kept)
    assert [record["alphas"] for record in again] == [record["alphas"] for record in history]
    for name, alphas in kept.alphas.items():
        expected = torch.tensor(history[1]["alphas"][name])
        assert torch.equal(alphas.detach(), expected)
        assert not torch.equal(alphas.detach(), plain.alphas[name].detach())
    weights = {name: value for name, value in state_of(kept).items() if not name.startswith("alphas")}
    assert all(torch.equal(value, state_of(plain)[name]) for name, value in weights.items())


def test_stopping_ends_the_search_as_a_search_of_fewer_epochs_would_stand() -> None:
    notes: list[str] = []
    stopped = searcher(Method(guard=Scripted(0, warn_after=2)), epochs=4)
    history = search(stopped, lambda event: notes.append(event.message) if isinstance(event, Noted) else None)
    assert len(history) == 2
    whole = search(searcher(epochs=4))
    assert history[0]["alphas"] == whole[0]["alphas"]
    assert notes == ["as planned", "the alphas of epoch 1 of 2 are kept"]


def test_a_warning_is_given_once() -> None:
    notes: list[str] = []
    warned = searcher(Method(guard=Scripted(99, warn_after=2, stops=False)), epochs=4)
    search(warned, lambda event: notes.append(event.message) if isinstance(event, Noted) else None)
    assert notes == ["as planned"]


@pytest.mark.parametrize("visits", [2, 3])
def test_a_guarded_search_resumes(visits: int, tmp_path: Path) -> None:
    settings = {
        "space.channels": 2, "space.cells": 1, "search.epochs": 4, "search.images_per_half": 40,
        "search.batch_size": 20, "guard": "skips", "guard.limit": 0.0, "guard.action": "stop",
    }  # fmt: skip

    def run(folder: Path, control: RunControl = RunControl()) -> Any:
        return poise.search(
            "digits", space="nasbench201", method="darts", settings=settings, out=folder, resume=True, control=control,
            device="cpu",
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    assert len(whole.history) < 4, "with a limit of 0 it fires"
    asked = iter(range(10**6))
    stops = 0
    while True:
        try:
            found = run(tmp_path / "stopped", RunControl(asked=lambda: next(asked) % visits == visits - 1))
            break
        except poise.Stopped:
            stops += 1
            assert stops < 100
    assert stops > 0
    assert found.genotype == whole.genotype
    assert len(found.history) == len(whole.history)
    assert all(torch.equal(found.alphas[name], whole.alphas[name]) for name in whole.alphas)
