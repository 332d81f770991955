"""What a person reads in the first hour: what begins, how long it takes, where it stands, and how to go on."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import TINY, Poise
from poise.bench.bench_folder import bench_of
from poise.bench.protocol import PROTOCOLS
from poise.bench.runner import estimate
from poise.engine.events import EpochEnded, Started, Stepped
from poise.engine.lock import locked
from poise.engine.run import SELECTION, RunFolder
from poise.errors import Refused
from poise.report import progress
from poise.report.progress import Reporter
from poise.report.readable_numbers import duration
from poise.report.tables import number
from poise.trackers.tracking import tracked
from poise.workflow.context import RunContext
from poise.workflow.standing import check_free

CONFIG = "data: {source: digits}\nsearch: {epochs: 12}\ntrain: {epochs: 600}\n"


def refusal(path: Path) -> str:
    with pytest.raises(Refused) as refused:
        check_free(path, overwrite=False)
    return str(refused.value)


@pytest.mark.parametrize(("kind", "epochs"), [("search", 12), ("train", 600)])
def test_a_run_that_was_stopped_is_resumed_rather_than_overwritten(tmp_path: Path, kind: str, epochs: int) -> None:
    run = RunFolder.create(tmp_path / "run", kind, CONFIG, "")
    go_on = f"go on with poise resume {run.path}, choose another folder, or replace the run with --overwrite"
    assert refusal(run.path) == f"{run.path} already holds a run, stopped earlier at epoch 1 of {epochs}; {go_on}"
    for epoch in range(3):
        run.append({"epoch": epoch})
    assert refusal(run.path) == f"{run.path} already holds a run, stopped earlier at epoch 4 of {epochs}; {go_on}"
    with locked(run.path):
        assert f"process {os.getpid()} works on" in refusal(run.path)
    check_free(run.path, overwrite=True)


def test_later_a_run_is_done(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "search", CONFIG, "")
    for epoch in range(12):
        run.append({"epoch": epoch})
    assert "stopped earlier while it was selecting; go on with poise resume" in refusal(run.path)
    run.write("genotype.json", "{}")
    then = f"look at it with poise show {run.path}, go on with poise train {run.path}, choose another folder, or "
    assert refusal(run.path).endswith(f"a finished search; {then}replace the run with --overwrite")
    run.write(SELECTION, "{}")
    assert f"whose selection was stopped earlier; go on with poise resume {run.path}" in refusal(run.path)
    net = RunFolder.create(tmp_path / "net", "train", CONFIG, "")
    net.write("result.json", "{}")
    assert f"a finished training; look at it with poise show {net.path}, go on with poise evaluate" in refusal(net.path)


def test_data_from_python_has_to_be_passed_again(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "search", CONFIG.replace("digits", "python"), "")
    assert f"go on with poise.resume({str(run.path)!r}, data=...)" in refusal(run.path)


def test_a_search_says_first_what_it_will_do(poise: Poise, images: Path) -> None:
    options = (*TINY, "--space=nasbench201", "--method=darts", "--set=space.cells=1")
    first, *_ = poise("search", "--data", images, "--out", "run", *options).out.splitlines()
    assert first == f"searching nasbench201 with darts on {images}, preset demo: 1 epoch; saved in run"
    refused = poise("search", "--data", images, "--out", "run", *options)
    assert (refused.code, refused.out) == (2, ""), "what is refused was not announced"


def told(monkeypatch: pytest.MonkeyPatch, steps: int, begin: int, seconds: float, opening: str = "") -> list[str]:
    """What is said in the first six steps of a stage of ``steps`` that goes on at ``begin``."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    written = io.StringIO()
    with Reporter(Console(file=written, width=200), opening) as listen:
        listen(Started("search", steps, begin))
        for done in range(begin + 1, begin + 7):
            now += 30 if done == begin + 1 else seconds  # the first one warms up
            listen(Stepped("search", done))
    return written.getvalue().splitlines()


def test_how_long_it_takes_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 103, 0, 2.0, "searching") == [
        "searching",
        "search: 103 steps, about 3 min 20 s, going by the first ones",
    ]
    assert told(monkeypatch, 2103, 1000, 3.0) == ["search: 1,103 steps, about 55 min 00 s, going by the first ones"]
    assert told(monkeypatch, 103, 0, 0.01) == [], "what is over in a moment needs no word"


def test_epochs_count_from_1_for_people_and_from_0_for_machines(tmp_path: Path) -> None:
    assert [number("epoch", 0), number("stage", 0), number("search_accuracy", 0.5)] == ["1", "1", "50.00%"]
    run = RunFolder.create(tmp_path / "run", "search", CONFIG, "")
    with tracked(run, "search", (), print, resumed=False) as tracking:
        listen = RunContext(tracking=tracking).recorded(run, "search", [])
        for epoch in range(2):
            listen(EpochEnded("search", {"epoch": epoch, "train_loss": 1.0}))
    assert [record["epoch"] for record in run.history()] == [0, 1]
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [1, 2]


@pytest.mark.parametrize("name", ["nosuch", "no/such", "digit"])
@pytest.mark.parametrize("command", ["search", "train"])
def test_data_that_is_not_there_is_said_to_be_not_there(poise: Poise, command: str, name: str) -> None:
    Path("cell.txt").write_text("12:00 best: |skip_connect~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|")
    outcome = poise(command, *(["cell.txt"] if command == "train" else []), "--data", name)
    assert outcome.code == 2
    assert outcome.err.startswith(f"poise: no such file or folder: {name}")
    assert ("did you mean 'digits'?" in outcome.err) == (name == "digit")


def test_a_bench_of_seconds_says_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Contestant:
        selections = True

        def seconds(self, job: Any) -> float:
            return 7.0

    monkeypatch.setattr("poise.bench.runner.contestant", lambda label: Contestant())
    given: dict[str, Any] = {"contestants": ["random"], "selections": ["magnitude"], "data": "digits"}
    bench = bench_of(protocol="smoke", seeds=[0, 1], **given)
    assert "smoke" in PROTOCOLS
    assert estimate(bench, tmp_path / "bench") == "2 runs, 1 at a time: about 14 s"
    assert [duration(seconds) for seconds in (0.4, 59.6, 60, 3900)] == ["0 s", "1 min 00 s", "1 min 00 s", "1 h 05 min"]
