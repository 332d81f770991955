"""What single contestants do, by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from poise.bench.contestants.searching import _epochs, random_genotype
from poise.bench.job import CONTESTANTS, Job, check
from poise.bench.protocol import SMOKE
from poise.bench.stopwatch import Stopwatch
from poise.config.resolve import resolve
from poise.engine.checkpointer import RunControl
from poise.engine.events import ignore
from poise.engine.streams import stream
from poise.errors import Refused
from poise.genotype import Genotype
from poise.workflow.prepare import Preparation

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def job(tmp_path: Path, **changed: Any) -> Job:
    protocol = dataclasses.replace(SMOKE, **changed)
    return Job(protocol, "largest", 3, ("magnitude",), "digits", "cpu", "32", tmp_path)


def test_the_largest_has_the_most_weights_of_all_that_are_drawn(tmp_path: Path) -> None:
    given = job(tmp_path, random_cells=7)
    (found,) = CONTESTANTS["largest"].run(given, ignore, RunControl())
    groups = Preparation.of(given.settings("darts")).groups
    drawn = [random_genotype("nasbench201", groups, stream(3, "random cell", number)) for number in range(7)]

    def weights(genotype: Genotype) -> int:
        """Of all convolutions of one cell, per pair of channels."""
        names = [name for kept in genotype.choices["cell"].values() for name in kept]
        return 9 * names.count("nor_conv_3x3") + names.count("nor_conv_1x1")

    assert len({weights(genotype) for genotype in drawn}) > 2
    assert weights(found.genotype) == max(weights(genotype) for genotype in drawn)
    assert found.selection == ""
    assert len(found.epochs) == 0


@pytest.mark.parametrize("setting", ["seed=7", " seed=7", "device=cpu", "precision=64", "data.size=8"])
def test_no_contestant_sets_what_the_bench_fixes(setting: str, tmp_path: Path) -> None:
    allowed = dataclasses.replace(job(tmp_path), contestant="darts:search.epochs=9")
    check(allowed)
    given = dataclasses.replace(job(tmp_path), contestant=f"darts:search.epochs=9:{setting}")
    with pytest.raises(Refused, match=f"{setting.strip().partition('=')[0]} is fixed by the bench"):
        check(given)


@pytest.mark.parametrize("note", ["", "12.", "nan", "x", b"\xff"])
def test_a_damaged_note_of_seconds_counts_as_none(note: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "seconds"
    path.write_bytes(note if isinstance(note, bytes) else note.encode())
    kept = 12.0 if note == "12." else 0.0
    assert kept <= Stopwatch(path).seconds < kept + 5


def test_a_note_of_seconds_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one is not touched before the new one is whole, so a kill leaves one of them."""
    path = tmp_path / "seconds"
    path.write_text("40.0")

    def killed(*names: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as at_the_end:
        at_the_end.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt), Stopwatch(path):
            pass
    assert path.read_text() == "40.0"
    with Stopwatch(path):
        pass
    assert 40 <= float(path.read_text()) < 45


def record(favourite: int, **more: Any) -> dict[str, Any]:
    """An epoch whose alphas prefer one operation on every edge."""
    row = [2.0 if index == favourite else 0.0 for index in range(5)]
    return {"alphas": {"cell": [row] * 6}, "skip_share": 0.0, **more}


def chosen(method: str, history: list[dict[str, Any]], **settings: Any) -> list[set[str]]:
    """The operations of the cell that would be taken after each epoch."""
    resolved = resolve(
        space="nasbench201", method=method, preset="demo", data="digits", overrides=list(settings.items())
    )
    found = _epochs(Preparation.of(resolved), "magnitude", history)
    assert all("alphas" not in epoch for epoch in found)
    return [
        {name for kept in Genotype.parse(epoch["genotype"]).choices["cell"].values() for name in kept}
        for epoch in found
    ]


def test_what_would_be_taken_after_an_epoch_knows_the_epochs_up_to_it_alone() -> None:
    """Also where the alphas are averaged: of 2 epochs the last one counts, of 3 the last 2, of 4 too."""
    history = [record(3), record(2), record(4), record(4)]
    assert chosen("darts", history) == [{"nor_conv_3x3"}, {"nor_conv_1x1"}, {"avg_pool_3x3"}, {"avg_pool_3x3"}]
    averaged = chosen("darts", history, averaging="tail")
    assert averaged == [{"nor_conv_3x3"}, {"nor_conv_1x1"}, {"nor_conv_1x1"}, {"avg_pool_3x3"}]
