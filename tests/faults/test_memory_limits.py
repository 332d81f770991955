"""A batch that fits is picked, and running out of memory is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from poise.config import resolve
from poise.engine import fit
from poise.engine.device import Place
from poise.engine.events import Noted
from poise.engine.fit import Fit, available_bytes, measure
from poise.workflow import memory, search
from poise.workflow.prepare import Preparation

OVERRIDES: list[tuple[str, Any]] = [
    ("space.channels", 2),
    ("space.cells", 1),
    ("search.epochs", 1),
    ("search.images_per_half", 128),
    ("search.batch_size", 64),
]


def settings() -> Any:
    return resolve(space="nasbench201", method="darts", data="digits", overrides=OVERRIDES, device="cpu")


def test_the_largest_batch() -> None:
    assert Fit(fixed=1000, per_image=10).largest(1399) == 39
    assert Fit(fixed=1000, per_image=10).largest(900) == 0


def test_what_a_batch_keeps_is_foretold_from_small_ones() -> None:
    searcher = Preparation.of(settings()).searcher()
    before = {name: value.clone() for name, value in searcher.supernet.state_dict().items()}
    found = measure(searcher)
    kept = fit._kept(searcher, 64)
    weights = 3 * sum(weight.nbytes for weight in searcher.weights.values())
    assert (found.fixed - weights + 64 * found.per_image) / fit.HEADROOM == pytest.approx(kept, rel=0.05)
    assert all(torch.equal(before[name], value) for name, value in searcher.supernet.state_dict().items())


def test_free_memory_is_known_here_or_said_not_to_be() -> None:
    found = available_bytes(Place.open("cpu"))
    assert found is None or found > 2**20


def test_a_batch_that_does_not_fit_is_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure(Preparation.of(settings()).searcher())
    monkeypatch.setattr(
        memory, "available_bytes", lambda place: int((found.fixed + 20.5 * found.per_image) / memory.USED)
    )
    notes: list[str] = []
    result = search.run(
        settings(),
        out=tmp_path / "run",
        auto_batch=True,
        listen=lambda event: notes.append(event.message) if isinstance(event, Noted) else None,
    )
    assert result.settings.search.batch_size == 20
    assert "batch_size: 20" in (tmp_path / "run" / "config.yaml").read_text()
    assert any("20 instead of 64" in note for note in notes)
    monkeypatch.setattr(memory, "available_bytes", lambda place: 2**40)
    assert memory.fitting(settings(), Preparation.of(settings()).searcher(), pytest.fail) == settings()
    monkeypatch.setattr(memory, "available_bytes", lambda place: 1)
    with pytest.raises(poise.Refused, match="not even a batch of 2"):
        memory.fitting(settings(), Preparation.of(settings()).searcher(), pytest.fail)
    monkeypatch.setattr(memory, "available_bytes", lambda place: None)
    with pytest.raises(poise.Refused, match="cannot be known"):
        memory.fitting(settings(), Preparation.of(settings()).searcher(), pytest.fail)


def failing(error: Exception) -> Any:
    def work(*arguments: object) -> None:
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_running_out_of_memory_says_what_fits(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "persevere", failing(error))
    with pytest.raises(poise.Refused, match=r"out of memory at search.batch_size 64: .*search.batch_size"):
        search.run(settings(), out=tmp_path / "run")


def test_other_errors_are_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "persevere", failing(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        search.run(settings(), out=tmp_path / "run")
