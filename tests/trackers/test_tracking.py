"""Every epoch is told once, in order, whatever happens to the run; what a tracker does to itself harms no run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trackers_support import TINY, search, stopped_after_one

import poise
from poise.cli.main import main
from poise.config.resolve import resolve
from poise.engine.events import EpochEnded
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.extras import EXTRAS
from poise.jobs.seeds import seeds_of
from poise.trackers.tracker import TRACKERS, Ending, Outcome, TrackedRun
from poise.trackers.tracking import tracked
from poise.workflow.context import RunContext

CONFIG = "search:\n  epochs: 3\nseed: 1\n"


class Fake:
    """Writes down what it is told; fails where it is told to."""

    said: list[Any]
    fails: frozenset[str]
    holds: int | None = None

    def __init__(self, run: TrackedRun) -> None:
        self._say("open", run.id, run.name, run.kind, dict(run.parameters))
        self.id, self.where = run.id or "abc", None

    def _say(self, *what: Any) -> None:
        if what[0] in type(self).fails:
            raise RuntimeError(f"no {what[0]}\nhere")
        type(self).said.append(what)

    def rewind(self, epochs: int) -> bool:
        self._say("rewind", epochs)
        return False

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        self._say("log", epoch, numbers["train_loss"])

    def finish(self, outcome: Outcome) -> None:
        self._say("finish", outcome)

    def close(self, ending: Ending) -> None:
        self._say("close", ending)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard puts its files in the order of the seconds in their names."""
    ticks = count(1_700_000_000)
    clock = SimpleNamespace(time=lambda: next(ticks))
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.time", clock)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    TRACKERS["tensorboard"]  # all others are there
    fresh = type("Fresh", (Fake,), {"said": [], "fails": frozenset()})
    monkeypatch.setitem(TRACKERS._items, "fake", fresh)
    return fresh


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "some" / "run", "search", CONFIG, "")


def record(epoch: int, loss: float = 1.0) -> dict[str, Any]:
    return {"epoch": epoch, "train_loss": loss, "alignment": {"train": 0.5, "search": None}}


def follow(
    folder: RunFolder, begun: int, until: int, names: Sequence[str] = ("fake",), back: int | None = None,
    ends: bool = False,
) -> list[str]:  # fmt: skip
    """Track epochs from ``begun`` on; perhaps go back to ``back`` and on again; perhaps end. What was noted."""
    notes: list[str] = []
    with tracked(folder, "search", names, notes.append, resumed=begun > 0) as tracking:
        tracking.begin([record(epoch) for epoch in range(begun)])
        for epoch in range(begun, until):
            tracking.log(record(epoch))
        if back is not None:
            tracking.begin([record(epoch) for epoch in range(back)])
            for epoch in range(back, until + 1):
                tracking.log(record(epoch, 2.0))
        if ends:
            tracking.finish([record(epoch) for epoch in range(until)], {}, {})
    return notes


def logged(fake: type[Fake]) -> list[tuple[int, float]]:
    return [what[1:] for what in fake.said if what[0] == "log"]


def scalars(folder: RunFolder) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars("train_loss")]


def test_a_run_that_was_killed_is_the_same_run_without_gaps_or_repetitions(fake: type[Fake], folder: RunFolder) -> None:
    assert follow(folder, 0, 3) == []
    assert follow(folder, 1, 5, names=()) == [], "killed after epoch 3, saved after epoch 1"
    assert logged(fake) == [(epoch, 1.0) for epoch in range(1, 6)]
    opened = [what for what in fake.said if what[0] == "open"]
    assert opened[0] == ("open", None, "run", "search", {"search.epochs": 3, "seed": 1})
    assert [what[1] for what in opened] == [None, "abc"]
    assert [value for _, value in scalars(folder)] == [1.0] * 5


def test_a_tracker_that_joins_later_is_told_what_it_missed(fake: type[Fake], folder: RunFolder) -> None:
    follow(folder, 0, 2, names=())
    assert fake.said == []
    follow(folder, 2, 3)
    assert logged(fake) == [(1, 1.0), (2, 1.0), (3, 1.0)]


def test_what_a_tool_has_lost_is_told_again(fake: type[Fake], folder: RunFolder) -> None:
    follow(folder, 0, 4)
    fake.holds, fake.said[:] = 2, []
    follow(folder, 4, 5, names=())
    assert [epoch for epoch, _ in logged(fake)] == [3, 4, 5]


def test_after_going_back_tensorboard_forgets_and_others_wait(fake: type[Fake], folder: RunFolder) -> None:
    follow(folder, 0, 3, back=1)
    assert logged(fake) == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)]
    assert scalars(folder) == [(1, 1.0), (2, 2.0), (3, 2.0), (4, 2.0)]


def test_no_password_is_noted(fake: type[Fake], folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "where", "run 1 of https://me:secret@host/a@b", raising=False)
    monkeypatch.setattr(fake, "__init__", lambda self, run: setattr(self, "id", "abc"))
    assert follow(folder, 0, 1) == ["tracked by fake: run 1 of https://host/a@b"]


@pytest.mark.parametrize("broken", ["open", "rewind", "log", "finish", "close"])
def test_what_fails_is_said_once_and_others_do_not_notice(broken: str, fake: type[Fake], folder: RunFolder) -> None:
    fake.fails = frozenset({broken})
    assert follow(folder, 0, 3, ends=True) == [f"fake no longer tracks this run, which goes on: no {broken} here"]
    assert not [what for what in fake.said if what[0] == "close"]
    assert [epoch for epoch, _ in scalars(folder)] == [1, 2, 3]


def test_a_search_goes_on_without_a_tracker_that_fails(fake: type[Fake], tmp_path: Path) -> None:
    fake.fails = frozenset({"log"})
    notes: list[str] = []
    result = search(tmp_path / "run", ["fake"], listen=lambda event: notes.append(getattr(event, "message", "")))
    assert len(result.history) == 3
    assert len([note for note in notes if note.startswith("fake no longer tracks this run")]) == 1
    assert (tmp_path / "run" / "genotype.json").is_file()


def test_what_failed_is_made_good_by_a_later_run(fake: type[Fake], folder: RunFolder) -> None:
    fake.fails = frozenset({"log"})
    assert len(follow(folder, 0, 2)) == 1
    fake.fails = frozenset()
    assert follow(folder, 2, 3, names=()) == []
    assert [epoch for epoch, _ in logged(fake)] == [1, 2, 3]


def test_the_end_of_a_search_and_of_a_training(fake: type[Fake], tmp_path: Path) -> None:
    result = search(tmp_path / "run", ["fake"])
    kind, outcome = fake.said[-2]
    assert (kind, fake.said[-1]) == ("finish", ("close", "finished"))
    assert outcome.facts == {"genotype": result.space.describe(result.genotype)}
    names = {file.name for file in outcome.files}
    assert {"report.html", "cells.svg", "curves.png", "genotype.json", "config.yaml"} <= names
    assert list(outcome.network) == []
    poise.resume(tmp_path / "run", listen=poise.ignore)
    assert fake.said[-1] == ("close", "finished")
    assert [what[0] for what in fake.said].count("finish") == 1, "what has ended is not told again"

    network = poise.train(result, out=tmp_path / "run" / "net", track=["fake"], listen=poise.ignore)
    outcome = next(what for what in reversed(fake.said) if what[0] == "finish")[1]
    assert outcome.numbers["test_accuracy"] == network.result["test_accuracy"]
    assert {"network.safetensors", "network.json", "run.json"} <= {file.name for file in outcome.network}
    assert next(what for what in reversed(fake.said) if what[0] == "open")[:4] == ("open", None, "net", "train")


def test_a_run_that_is_stopped_says_so_and_goes_on_in_the_same_place(fake: type[Fake], tmp_path: Path) -> None:
    stopped_after_one(tmp_path / "run", ["fake"])
    assert fake.said[-1] == ("close", "stopped")
    poise.resume(tmp_path / "run", listen=poise.ignore)
    assert [epoch for epoch, _ in logged(fake)] == [1, 2, 3]
    assert fake.said[-1] == ("close", "finished")
    assert [what[1] for what in fake.said if what[0] == "open"] == [None, "abc"]


def test_a_run_that_replaces_another_is_a_new_one(fake: type[Fake], folder: RunFolder) -> None:
    follow(folder, 0, 1)
    assert (folder.path / "trackers.json").is_file()
    RunFolder.create(folder.path, "search", CONFIG, "", overwrite=True)
    follow(folder, 0, 1)
    assert [what[1] for what in fake.said if what[0] == "open"] == [None, None]


def test_only_the_first_of_several_processes_tracks(fake: type[Fake], tmp_path: Path) -> None:
    class Second:
        alone = first = False

        def led(self, work: Any) -> Any:
            return False

        def any(self, value: bool) -> bool:
            return value

    processes: Any = Second()
    context = RunContext(tmp_path / "run", track=("fake",)).among(processes)
    assert (context.out, context.track) == (None, ())
    with context.opened("search", None, lambda: "", {}) as (output, opened):  # type: ignore[arg-type]
        opened.recorded(output, "search", [])(EpochEnded("search", record(0)))
        opened.finish([], {}, {})
    assert fake.said == []


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"nosuch": {}}', '{"fake": 3}', '{"fake": {"id": 3, "epochs": 0, "done": false}}']
)
def test_a_file_that_says_nothing_of_trackers_is_passed_over(text: str, fake: type[Fake], folder: RunFolder) -> None:
    (folder.path / "trackers.json").write_text(text)
    if text == "[]":
        with pytest.raises(Refused, match="expected a JSON object"):
            follow(folder, 0, 1)
        return
    follow(folder, 0, 1)
    assert fake.said[0][1] is None
    kept = json.loads((folder.path / "trackers.json").read_text())
    assert kept == {"fake": {"id": "abc", "epochs": 1, "done": False}}


def test_what_cannot_be_tracked_is_refused_before_anything_is_done(
    fake: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match=r"unknown tracker 'mlfow'; did you mean 'mlflow'\? \(valid: fake, mlflow, "):
        search(tmp_path / "run", ["mlfow"])
    with pytest.raises(Refused, match=r"^a run is tracked in the folder that it is saved in; say which: out=$"):
        poise.search("digits", track=["fake"])
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, *EXTRAS[name], None)
        refusal = rf"^tracking a run in {name} needs {name}; to install: pip install 'poise\[{name}\]'$"
        for call in (search, poise.resume, poise.train):
            with pytest.raises(Refused, match=refusal):
                call(tmp_path / "run", track=[name])
    assert not (tmp_path / "run").exists()


def test_no_run_without_trackers_keeps_a_file_of_them(folder: RunFolder) -> None:
    follow(folder, 0, 2, names=("tensorboard",))
    assert not (folder.path / "trackers.json").exists()
    assert [epoch for epoch, _ in scalars(folder)] == [1, 2], "not twice where it is asked for by name"


def test_the_command_line_tracks_and_so_does_every_seed(
    fake: type[Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"--set={name}={value}" for name, value in TINY.items()]
    place = ["--data", "digits", "--space", "nasbench201", "--method", "darts", "--device", "cpu"]
    for words in (
        ["search", *place, *settings, "--track", "fake", "--out", str(tmp_path / "run")],
        ["train", str(tmp_path / "run"), "--track", "fake", "--track", "tensorboard"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code, capsys.readouterr().err
    assert [what[3] for what in fake.said if what[0] == "open"] == ["search", "train"]
    assert [what[1] for what in fake.said if what[0] == "close"] == ["finished", "finished"]
    commands = list(seeds_of(seeds=(1, 2), track=("fake", "mlflow")).commands(tmp_path, resolve(space="nasbench201")))
    assert len(commands) == 2
    for command in commands:
        assert {"--track=fake", "--track=mlflow"} <= set(command.words)


@pytest.mark.parametrize("name", sorted({*TRACKERS} - {"fake"}))
def test_every_tracker_has_all_of_the_protocol(name: str) -> None:
    for method in ("rewind", "log", "finish", "close"):
        assert callable(getattr(TRACKERS[name], method))
    assert TRACKERS.doc(name)
    assert name in EXTRAS, "what comes with every installation would need no name of an extra; all of these need one"
