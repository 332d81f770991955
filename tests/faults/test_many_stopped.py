"""Several processes, any of which is stopped or killed: all end, and the run goes on with as many, or fewer."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from faults_support import (
    FULL,
    LONG,
    TINY,
    Command,
    checkpoints,
    outcome,
    overrides,
    resuming,
    run,
    same,
    searching,
)  # fmt: skip

KILLS = 20 if FULL else 2
WAIT = 60.0
"""Seconds within which all have to end once one has: far more than it takes, and less than their own time limit."""

Unbroken = tuple[dict[str, Any], float]


@contextmanager
def team(count: int, words: list[str]) -> Iterator[list[Command]]:
    """The command line in several processes, started as torchrun does it."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    about = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(count),
        "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    with ExitStack() as stack:
        yield [
            stack.enter_context(Command(words, more=about | {"RANK": str(rank), "LOCAL_RANK": str(rank)}))
            for rank in range(count)
        ]


def ended(commands: list[Command]) -> tuple[list[int], list[str]]:
    """Exit codes, and what was said."""
    found = [command.ended(WAIT) for command in commands]
    return [each.code for each in found], [each.err for each in found]


def alone(count: int, words: list[str]) -> None:
    with team(count, words) as commands:
        codes, said = ended(commands)
    assert codes == [0] * count, said


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The outcome of a search by two processes that nothing disturbs, and its seconds."""
    out, begin = tmp_path_factory.mktemp("unbroken") / "run", time.monotonic()
    alone(2, searching(out, LONG))
    return outcome(out), time.monotonic() - begin


def test_one_asked_to_stop_stops_all_and_they_go_on_to_the_last_bit(unbroken: Unbroken, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with team(2, searching(out, LONG)) as commands:
        assert commands[0].until(lambda: bool(checkpoints(out)))
        commands[1].process.send_signal(signal.SIGTERM)
        codes, said = ended(commands)
    assert codes == [75, 0]
    assert said[0].startswith("poise: stopped; saved; to go on: poise resume")
    assert said[1] == ""
    alone(2, resuming(out))
    same(outcome(out), unbroken[0])


def test_one_killed_ends_all_and_they_go_on_to_the_last_bit(unbroken: Unbroken, tmp_path: Path) -> None:
    expected, seconds = unbroken
    chance = random.Random("kills of one of two")
    for number in range(KILLS):
        out, victim = tmp_path / f"run{number}", number % 2
        with team(2, searching(out, LONG)) as commands:
            commands[0].until(lambda out=out: (out / "config.yaml").is_file())
            time.sleep(chance.random() * seconds * 0.7)
            commands[victim].tell(signal.SIGKILL)
            codes, said = ended(commands)
        if codes[1 - victim] != 0:  # it was killed in time
            assert codes[1 - victim] == 75, said
            assert victim == 0 or "another of the 2 processes has ended" in said[0]
        alone(2, resuming(out))
        same(outcome(out), expected)


def test_a_run_goes_on_with_fewer_processes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for count in (4, 2):
        words = searching(out, LONG) if count == 4 else resuming(out)
        with team(count, words) as commands:
            before = checkpoints(out)[-1:]
            assert commands[0].until(lambda before=before: checkpoints(out)[-1:] > before)
            commands[0].tell(signal.SIGTERM)
            codes, said = ended(commands)
        assert codes[0] in (75, 0), said
    alone(1, resuming(out))
    assert outcome(out)["epochs"] == list(range(LONG["search.epochs"]))


def test_what_the_first_process_refuses_it_alone_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with team(2, searching(tmp_path / "file", TINY)) as commands:
        codes, said = ended(commands)
    assert codes == [2, 0]
    assert said[0].count("\n") == 1
    assert "is a file" in said[0]
    assert said[1] == ""


def test_a_finished_run_is_gone_on_with_by_all(tmp_path: Path) -> None:
    """Nothing is computed again; and a network is trained, stopped nowhere, by two."""
    out = tmp_path / "run"
    alone(1, searching(out, TINY))
    before = outcome(out)
    alone(2, resuming(out))
    same(outcome(out), before)
    alone(2, ["train", str(out), "--device", "cpu", *overrides(TINY)])
    trained = outcome(out / "net")
    assert "test_accuracy" in trained["result"]
    alone(2, resuming(out / "net"))
    same(outcome(out / "net"), trained)


def test_devices_starts_its_own_processes(tmp_path: Path) -> None:
    """The first one alone speaks."""
    out = tmp_path / "run"
    found = run([*searching(out, TINY), "--devices", "2"], program=True)
    assert (found.code, found.err) == (0, "")
    assert outcome(out)["epochs"] == [0, 1]
    again = run([*searching(out, TINY), "--devices", "2"], program=True)
    assert again.code == 2
    assert "already holds a run" in again.line
