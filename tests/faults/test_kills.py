"""``kill -9`` at any moment of a search, a projection or a retraining, again and again, changes not one bit."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from faults_support import (
    LONG,
    PROJECTED,
    TINY,
    Command,
    checkpoints,
    outcome,
    overrides,
    resuming,
    run,
    same,
    search,
    searching,
    unbroken,
)  # fmt: skip

import poise
from full import FULL

KILLS = dict.fromkeys(("search", "projection", "training"), 8 if FULL else 1)
IN_A_ROW = 5
"""Kills of one run, before it is left to end."""

SHARED = {"train.epochs": 12 if FULL else 5, "train.batch_size": 100 if FULL else 200}
GENTLE = PROJECTED | {"search.images_per_half": 160 if FULL else 40}


@dataclass(frozen=True)
class Kind:
    """A kind of work: the command that begins it, what it should come to, and the seconds that it works."""

    begin: Callable[[Path], list[str]]
    expected: dict[str, Any]
    seconds: float


@pytest.fixture
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param != "training":
        settings = LONG if request.param == "search" else GENTLE
        begin = time.monotonic()
        expected = unbroken(tmp_path / "unbroken", settings)
        return Kind(lambda out: searching(out, settings), expected, time.monotonic() - begin)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        search(tmp_path / "run", TINY)
        begin = time.monotonic()
        poise.train(tmp_path / "run", out=tmp_path / "unbroken", settings=SHARED)
    finally:
        torch.set_num_threads(threads)

    def words(out: Path) -> list[str]:
        return ["train", str(tmp_path / "run"), "--out", str(out), "--checkpoint-every", "0", *overrides(SHARED)]

    return Kind(words, outcome(tmp_path / "unbroken"), time.monotonic() - begin)


@pytest.mark.parametrize(("kind", "name"), [(name, name) for name in KILLS], indirect=["kind"])
def test_kills(kind: Kind, name: str, tmp_path: Path) -> None:
    chance = random.Random(f"kills of a {name}")
    killed, runs, moments = 0, 0, []
    while killed < KILLS[name]:
        out = tmp_path / f"run{runs}"
        hits = kill_again_and_again(out, kind, chance, min(IN_A_ROW, KILLS[name] - killed), moments)
        if not (out / "run.json").is_file():  # killed before it began
            assert run(kind.begin(out)).code == 0
        else:
            ended = run(resuming(out))
            assert ended.code == 0, ended
        same(outcome(out), kind.expected)
        assert not (out / "checkpoints").exists()
        assert not list(out.rglob("*.new")), "a leftover of a write that was cut off"
        assert finished_page(out)
        killed, runs = killed + hits, runs + 1
        assert runs < 10 * KILLS[name], "the kills come too late"
    assert killed >= KILLS[name]
    print(json.dumps({"kind": name, "kills": killed, "runs": runs, "seconds": kind.seconds, "moments": moments}))


def kill_again_and_again(out: Path, kind: Kind, chance: random.Random, most: int, moments: list[str]) -> int:
    """How many kills hit a process that lived; the run is over or can go on."""
    hits = 0
    while hits < most:
        words = resuming(out) if (out / "run.json").is_file() else kind.begin(out)
        with Command(words) as command:
            if chance.random() < 0.9:  # else: while it still starts
                command.at_work(out)
                time.sleep(chance.uniform(0, kind.seconds / 3))
            else:
                time.sleep(chance.uniform(0, 2))
            if not command.kill():
                break
        hits += 1
        newest = checkpoints(out)[-1:]
        searched = (out / "supernet.safetensors").is_file()
        moments.append((newest[0].stem.lstrip("0") if newest else "none") + (" after the search" if searched else ""))
    return hits


class Killed(BaseException):
    """Stands for a ``kill -9``: nothing tidies up after it."""


class KilledAt:
    """Replaces a function of the system by one that is killed at a call, before or after it does its work."""

    def __init__(self, work: Callable[..., Any], call: int, after: bool) -> None:
        self.work, self.left, self.after = work, call, after

    def __call__(self, *arguments: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        found = self.work(*arguments)
        if self.left == 0:
            raise Killed
        return found


def killed_at(work: Callable[[], Any], call: int, after: bool, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do the work and be killed at so many renamed files. False if there were fewer, and it is done."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", KilledAt(os.replace, call, after))
        try:
            work()
        except Killed:
            return True
    return False


def finished_page(run: Path) -> bool:
    """Whether the page of a run says that it is over."""
    return 'data-state="finished"' in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["search", "training"])
def test_killed_at_every_file(kind: str, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends before, or after, any one of the files that it puts in place."""
    search(tmp_path / "unbroken", TINY)
    if kind == "training":
        poise.train(tmp_path / "unbroken", out=tmp_path / "network")

    def work(out: Path) -> Any:
        if kind == "search":
            return search(out, TINY, resume=True)
        return poise.train(tmp_path / "unbroken", out=out, resume=True)

    expected = outcome(tmp_path / ("unbroken" if kind == "search" else "network"))
    for call in range(1, 100, 1 if FULL else 5):
        out = tmp_path / f"run{call}"
        if not killed_at(lambda out=out: work(out), call, after, monkeypatch):
            assert call > 5
            if kind == "training":
                (out / "report.html").write_text("as it was before the last one")
                work(out)
                assert finished_page(out)
            return
        work(out)
        same(outcome(out), expected)
        assert not list(out.rglob("*.new")), "a leftover of a write that was cut off"
        assert finished_page(out)
    raise AssertionError("it never ends")
