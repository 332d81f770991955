"""Commands by submitit, whose own local executor stands in for Slurm."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError

from poise.errors import Refused
from poise.jobs import slurm
from poise.jobs.command import Command, Needs
from poise.jobs.executor import Ended
from poise.jobs.scheduler import carry_out
from poise.jobs.slurm import OnSlurm, Slurm, work


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setattr(Slurm, "cluster", "local")
    return Slurm("partition=long,time=120")


def command(folder: Path, *words: str, **more: Any) -> Command:
    given = {"work": "seed-0", "log": "logs/seed-0.log", "history": "h", "makes": ("logs/seed-0.log",)} | more
    return Command("darts", 0, words, folder, **given)


def test_commands_are_carried_out(here: Slurm, tmp_path: Path) -> None:
    """One that ends well, one that is refused, and one that fails, each with its exit code."""
    fine = command(tmp_path, "list", "methods")
    refused = command(tmp_path, "list", "everything", work="seed-1", log="logs/seed-1.log")
    found = carry_out([fine, refused], here)
    assert [(each.state, each.attempts) for each in found] == [("done", 1), ("failed", 1)]
    assert "unknown" in found[1].message
    assert "lambda-darts" in (tmp_path / fine.log).read_text()


class Interrupted:
    """A process that is interrupted while it is waited for, and then ends."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def wait(self) -> int:
        self.heard.append("wait")
        if len(self.heard) == 1:
            raise KeyboardInterrupt
        return 75

    def send_signal(self, number: int) -> None:
        self.heard.append(number)


def test_whatever_interrupts_a_job_lets_its_command_save(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    process = Interrupted()
    monkeypatch.setattr(slurm, "start_process", lambda *given, **more: process)
    with pytest.raises(KeyboardInterrupt):
        work(command(tmp_path))
    assert process.heard == ["wait", signal.SIGTERM, "wait"]


class Job:
    """A job of Slurm, as submitit shows it."""

    job_id = "7"

    def __init__(self, state: str, result: int | Exception = 0) -> None:
        self.state, self._result, self.cancelled = state, result, False

    def done(self) -> bool:
        return self.state not in ("PENDING", "RUNNING")

    def result(self) -> int:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def cancel(self, check: bool) -> None:
        self.cancelled = True


@pytest.mark.parametrize(
    ("job", "begun", "ended"),
    [
        (Job("PENDING"), False, None),
        (Job("RUNNING"), True, None),
        (Job("COMPLETED"), True, Ended(0)),
        (Job("COMPLETED", 2), True, Ended(2)),
        (Job("COMPLETED", -9), True, Ended(None, "killed by SIGKILL")),
        (Job("TIMEOUT", UncompletedJobError("no")), True, Ended(None, "its worker was lost: job 7 is TIMEOUT")),
        (Job("FAILED", FailedJobError("no")), True, Ended(None, "its worker was lost: job 7 is FAILED")),
    ],
)
def test_what_became_of_a_job(job: Job, begun: bool, ended: Ended | None) -> None:
    found = OnSlurm(job)
    assert (found.begun, found.poll()) == (begun, ended)
    found.stop()
    assert job.cancelled


def test_needs_and_options_reach_sbatch(here: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", lambda self, **given: seen.update(given))
    monkeypatch.setattr(submitit.AutoExecutor, "submit", lambda self, *given: Job("PENDING"))
    here.start(command(tmp_path, needs=Needs(4, 1, 8_000_000_000)), 1)
    assert seen == {
        "name": "darts-seed0", "nodes": 1, "tasks_per_node": 1, "cpus_per_task": 4, "gpus_per_node": 1, "mem_gb": 8.0,
        "timeout_min": slurm.MINUTES, "slurm_additional_parameters": {"partition": "long", "time": "120"},
    }  # fmt: skip


def test_options_have_values(here: Slurm) -> None:
    with pytest.raises(Refused, match="takes options of sbatch as NAME=VALUE"):
        Slurm("partition")
