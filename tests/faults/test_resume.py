"""Runs that are stopped and go on end as if nothing had happened, to the last bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults_support import PROJECTED, TINY, outcome, same, search

import poise
from full import FULL
from poise.data import source_name
from poise.engine.checkpoint import Checkpoints
from poise.engine.checkpointer import RunControl


class StopAfter:
    """Asks to stop at every visit from the given one on."""

    def __init__(self, visits: int) -> None:
        self.left = visits

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def until_done(work: Callable[[RunControl], Any], visits: int) -> tuple[Any, int]:
    """The result of work that is stopped after so many steps, again and again; and how often it was."""
    for stops in range(1000):
        try:
            return work(RunControl(every=1e9, asked=StopAfter(visits))), stops
        except poise.Stopped:
            continue
    raise AssertionError("it never ends")


SETTINGS = {"tiny": TINY, "projected": PROJECTED}
Whole = Callable[..., Path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The folder of a search that was not stopped. Each is searched once, and nobody writes into it."""

    @cache
    def searched(settings: str, method: str = "darts") -> Path:
        out = tmp_path_factory.mktemp("whole") / "run"
        search(out, SETTINGS[settings], method)
        return out

    return searched


METHODS = ("lambda-darts", "sdarts-adv", "darts-2nd")


@pytest.mark.parametrize(
    ("method", "visits"), [*product(METHODS, (1, 3, 5))] if FULL else [*zip(METHODS, (3, 1, 5), strict=True)]
)
def test_search(method: str, visits: int, whole: Whole, tmp_path: Path) -> None:
    _, stops = until_done(
        lambda control: search(tmp_path / "stopped", TINY, method, resume=True, control=control), visits=visits
    )
    assert stops >= 1
    same(outcome(tmp_path / "stopped"), outcome(whole("tiny", method)))
    assert not (tmp_path / "stopped" / "checkpoints").exists(), "a finished run needs none"


@pytest.mark.parametrize("visits", [2, 5, 11] if FULL else [5])
def test_projection(visits: int, whole: Whole, tmp_path: Path) -> None:
    _, stops = until_done(lambda control: search(tmp_path / "stopped", PROJECTED, resume=True, control=control), visits)
    assert stops >= 3
    same(outcome(tmp_path / "stopped"), outcome(whole("projected")))


def test_projection_where_rows_keep_several(tmp_path: Path) -> None:
    """Choice blocks, whose inputs are compared in full."""
    settings = PROJECTED | {"space.cells": 3, "search.images_per_half": 40}
    search(tmp_path / "whole", settings, space="nasbench1shot1-1")
    _, stops = until_done(
        lambda control: search(tmp_path / "stopped", settings, space="nasbench1shot1-1", resume=True, control=control),
        17,
    )
    assert stops >= 2
    same(outcome(tmp_path / "stopped"), outcome(tmp_path / "whole"))


@pytest.mark.parametrize("visits", [1, 4] if FULL else [1])
def test_training(visits: int, whole: Whole, tmp_path: Path) -> None:
    poise.train(whole("tiny"), out=tmp_path / "whole")
    _, stops = until_done(
        lambda control: poise.train(whole("tiny"), out=tmp_path / "stopped", resume=True, control=control), visits
    )
    assert stops >= 1
    same(outcome(tmp_path / "stopped"), outcome(tmp_path / "whole"))


@pytest.mark.parametrize("visits", [1, 4, 9] if FULL else [4])
def test_selection_of_a_finished_run(visits: int, whole: Whole, tmp_path: Path) -> None:
    chosen = {"selection.tune_epochs": 1}
    for folder in ("whole", "stopped"):
        shutil.copytree(whole("tiny"), tmp_path / folder)
    poise.select(tmp_path / "whole", "perturbation", settings=chosen)
    begun = False

    def work(control: RunControl) -> Any:
        nonlocal begun
        if begun:
            return poise.resume(tmp_path / "stopped", control=control)
        begun = True
        return poise.select(tmp_path / "stopped", "perturbation", settings=chosen, control=control)

    found, stops = until_done(work, visits)
    assert stops >= 3
    assert type(found).__name__ == "Selected"
    same(outcome(tmp_path / "stopped"), outcome(tmp_path / "whole"))
    assert {path.name for path in (tmp_path / "stopped").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }, "nothing is left of the stop"


def test_a_selection_goes_on_only_as_it_was_asked_for(whole: Whole, tmp_path: Path) -> None:
    chosen = {"selection.tune_epochs": 1}
    shutil.copytree(whole("tiny"), tmp_path / "run")
    notes: list[str] = []

    def hear(event: Any) -> None:
        notes.append(getattr(event, "message", ""))

    for more in ({}, {}, {"selection.criterion": "loss"}):
        with pytest.raises(poise.Stopped, match="poise resume"):
            poise.select(
                tmp_path / "run",
                "perturbation",
                settings=chosen | more,
                listen=hear,
                control=RunControl(asked=StopAfter(3)),
            )
    assert sum("going on" in note for note in notes) == 1, "the second goes on with the first, the third does not"
    poise.select(tmp_path / "run", "magnitude")
    assert not (tmp_path / "run" / "selection.json").exists()
    assert not (tmp_path / "run" / "selecting").exists()


def test_other_data_is_refused(tmp_path: Path) -> None:
    images = poise.open_source("digits").load("train")

    def write(brighter: int) -> None:
        pixels = images.pixels.clone()
        pixels[:, 0, 0, 0] = brighter
        arrays = {"x_train": pixels[:, 0].numpy(), "y_train": images.labels.numpy()}
        np.savez(tmp_path / "data.npz", **arrays)

    def begin(out: Path) -> None:
        with pytest.raises(poise.Stopped):
            poise.search(
                tmp_path / "data.npz",
                space="nasbench201",
                settings=TINY,
                out=out,
                control=RunControl(asked=StopAfter(2)),
            )

    write(1)
    begin(tmp_path / "run")
    write(2)
    with pytest.raises(poise.Refused, match="not the same as when"):
        poise.resume(tmp_path / "run")
    write(1)
    poise.resume(tmp_path / "run")
    with pytest.raises(poise.Stopped):
        poise.train(tmp_path / "run", out=tmp_path / "net", control=RunControl(asked=StopAfter(2)))
    write(2)
    with pytest.raises(poise.Refused, match="not the same as when"):
        poise.resume(tmp_path / "net")


def test_a_run_goes_on_from_anywhere_and_with_data_that_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = poise.open_source("digits").load("train")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    np.savez("data.npz", x_train=images.pixels[:, 0].numpy(), y_train=images.labels.numpy())
    with pytest.raises(poise.Stopped):
        poise.search("data.npz", space="nasbench201", settings=TINY, out="run", control=RunControl(asked=StopAfter(2)))
    monkeypatch.chdir(tmp_path)
    found = poise.resume("here/run")
    assert isinstance(found, poise.SearchResult)
    with pytest.raises(poise.Stopped):
        poise.train("here/run", out="net", control=RunControl(asked=StopAfter(2)))
    (tmp_path / "here" / "data.npz").rename(tmp_path / "moved.npz")
    with pytest.raises(poise.Refused, match=r"no such file.*here/data\.npz"):
        poise.resume("net")
    trained = poise.resume("net", data="moved.npz")
    assert isinstance(trained, poise.TrainedNetwork)
    assert "test_accuracy" in trained.result


def test_a_name_stays_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("digits/cat", "digits/dog", "pictures/cat"):
        (tmp_path / name).mkdir(parents=True)
    assert source_name("digits") == "digits", "what opens is the source, not the folder"
    assert source_name("./digits") == str(tmp_path / "digits")
    assert source_name(Path("pictures")) == str(tmp_path / "pictures")
    assert [source_name(name) for name in ("hf:me/it", "gone.npz", "a\0b", 3)] == [
        "hf:me/it",
        "gone.npz",
        "a\0b",
        "python",
    ]


def test_resume_needs_the_folder_alone(whole: Whole, tmp_path: Path) -> None:
    with pytest.raises(poise.Stopped, match="poise resume"):
        search(tmp_path / "stopped", PROJECTED, control=RunControl(asked=StopAfter(6)))
    found = poise.resume(tmp_path / "stopped")
    assert isinstance(found, poise.SearchResult)
    same(outcome(tmp_path / "stopped"), outcome(whole("projected")))
    again = poise.resume(tmp_path / "stopped")
    assert isinstance(again, poise.SearchResult)
    assert again.genotype == found.genotype
    assert len(again.history) == len(found.history)


def test_a_damaged_checkpoint_is_passed_over(whole: Whole, tmp_path: Path) -> None:
    with pytest.raises(poise.Stopped):
        search(tmp_path / "stopped", TINY, control=RunControl(every=0, asked=StopAfter(5)))
    newest = sorted((tmp_path / "stopped" / "checkpoints").iterdir())[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    notes: list[str] = []
    poise.resume(tmp_path / "stopped", listen=lambda event: notes.append(getattr(event, "message", "")))
    assert any("damaged" in note and newest.name in note for note in notes)
    same(outcome(tmp_path / "stopped"), outcome(whole("tiny")))


def test_other_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(poise.Stopped):
        search(tmp_path / "run", TINY, control=RunControl(asked=StopAfter(2)))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(poise.Refused, match="epochs: 2, now epochs: 3"):
        search(tmp_path / "run", TINY | {"search.epochs": 3}, resume=True)
    with pytest.raises(poise.Refused, match=r"already holds a run, stopped earlier at epoch 1 of 2; go on with"):
        search(tmp_path / "run", TINY)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    with pytest.raises(poise.Stopped):
        search(tmp_path / "run", TINY, control=RunControl(every=0, asked=StopAfter(5)))
    found = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert 1 <= len(found) <= 2
    assert Checkpoints(tmp_path / "run" / "checkpoints").load(pytest.fail) is not None


def test_a_training_goes_on_with_its_own_genotype_only(tmp_path: Path) -> None:
    first, other = (
        poise.Genotype.parse(f"|{name}~0|+|{name}~0|none~1|+|{name}~0|none~1|none~2|")
        for name in ("skip_connect", "nor_conv_1x1")
    )
    settings = {"train.channels": 2, "train.cells": 1, "train.epochs": 1, "train.batch_size": 500}

    def train(genotype: poise.Genotype) -> poise.TrainedNetwork:
        return poise.train(
            genotype, "digits", preset="demo", settings=settings, out=tmp_path / "net", resume=True, device="cpu"
        )

    found = train(first)
    with pytest.raises(poise.Refused, match="trains another genotype; choose another folder, or pass --overwrite"):
        train(other)
    assert train(first).result == found.result
