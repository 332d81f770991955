"""Get through all jobs of a bench: processes side by side, each with its share of the threads.

A job that fails is reported and does not stop the others. A bench that is stopped goes on where it was: finished jobs
are known by their results, others go on from their last checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from poise.bench.bench_folder import Bench, check_bench, missing, open_bench, read_bench, threads_each
from poise.bench.job import Job, contestant
from poise.engine.lock import locked
from poise.errors import Refused, Stopped
from poise.report.readable_numbers import duration

PAUSE = 0.2
"""Seconds between two looks at the processes."""


@dataclass(frozen=True)
class State:
    """Where one job stands.

    Args:
        job: which.
        state: ``waiting``, ``running``, ``done``, ``failed``.
        epochs: that lie behind.
        seconds: since it was started here.
        message: the last line that a failed job said.
    """

    job: Job
    state: str
    epochs: int = 0
    seconds: float = 0.0
    message: str = ""


@dataclass
class _Process:
    job: Job
    process: subprocess.Popen[bytes]
    start: float
    log: Path


Watcher = Callable[[Sequence[State]], None]


def run_bench(
    bench: Bench, folder: Path, watch: Watcher = lambda states: None, asked: Callable[[], bool] = lambda: False
) -> list[State]:
    """Do what is missing of what ``bench`` asks for; returns where every job of it stands in the end.

    Args:
        bench: what is compared; what the folder's bench asks for besides is left as it is.
        folder: of the bench; created, or gone on with.
        watch: told where everything stands, a few times a second.
        asked: whether to stop.

    Raises:
        Refused: something of it cannot run (before anything is written), or another process works on the bench.
        Stopped: ``asked`` for it; all processes have saved where they were.
    """
    check_bench(folder, bench)
    with locked(folder):
        open_bench(folder, bench)
        states = {job.folder: State(job, "waiting" if missing(job, folder) else "done") for job in bench.jobs(folder)}
        running: list[_Process] = []
        try:
            _work(bench, folder, states, running, watch, asked)
        finally:
            _stop(running)
        return list(states.values())


def _work(
    bench: Bench, folder: Path, states: dict[Path, State], running: list[_Process], watch: Watcher,
    asked: Callable[[], bool],
) -> None:  # fmt: skip
    waiting = [state.job for state in states.values() if state.state == "waiting"]
    threads = threads_each(bench.at_once, os.cpu_count() or 1)
    while waiting or running:
        while waiting and len(running) < bench.at_once:
            running.append(_start(waiting.pop(0), folder, threads))
        if asked():
            raise Stopped(folder)
        time.sleep(PAUSE)
        for each in list(running):
            state = _state(each, folder)
            states[each.job.folder] = state
            if state.state != "running":
                running.remove(each)
        watch(list(states.values()))


def _state(each: _Process, folder: Path) -> State:
    """Where the job of a process stands."""
    seconds, code, epochs = time.monotonic() - each.start, each.process.poll(), _epochs(each.job)
    if code is None:
        return State(each.job, "running", epochs, seconds)
    if code == 0 and not missing(each.job, folder):
        return State(each.job, "done", epochs, seconds)
    return State(each.job, "failed", epochs, seconds, _last_line(each.log) or f"exit code {code}")


def _start(job: Job, folder: Path, threads: int) -> _Process:
    """The job in a process of its own, which sees ``threads`` cores."""
    log = folder / "logs" / f"{job.folder.parent.name}-{job.folder.name}.log"
    words = [sys.executable, "-m", "poise", "bench", "job", str(folder), job.contestant, str(job.seed)]
    words += ["--selections", ",".join(job.selections)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with log.open("ab") as file:
        # A group of its own: an interrupt from the keyboard reaches the runner, which tells its processes itself.
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    return _Process(job, process, time.monotonic(), log)


def _stop(running: Sequence[_Process]) -> None:
    """Ask every process to save where it is, and wait for it."""
    for each in running:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGTERM)
    for each in running:
        try:
            each.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            each.process.kill()
            each.process.wait()


def _epochs(job: Job) -> int:
    """Epochs that the job's search has behind it."""
    try:
        return (job.folder / "search" / "history.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def _last_line(log: Path) -> str:
    """The last line that a process said."""
    try:
        lines = log.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""


def estimate(bench: Bench, folder: Path) -> str:
    """What is left to do and about how long it takes, from a few measured steps of every contestant.

    Raises `Refused` if the bench cannot run in this folder, before anything is measured.
    """
    check_bench(folder, bench)
    left = [job for job in bench.jobs(folder) if missing(job, folder)]
    seconds: dict[str, float] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads_each(bench.at_once, os.cpu_count() or 1))
    try:
        for job in left:
            if job.contestant not in seconds:
                seconds[job.contestant] = contestant(job.contestant).seconds(job)
    finally:
        torch.set_num_threads(before)
    total = sum(seconds[job.contestant] for job in left) / bench.at_once
    return f"{len(left)} runs, {bench.at_once} at a time: about {duration(total)}"


def job_of(folder: Path, contestant: str, seed: int, selections: Sequence[str]) -> Job:
    """One job of the bench in a folder, with these selections alone. Raises `Refused` if the bench has none such."""
    for job in read_bench(folder).jobs(folder):
        if (job.contestant, job.seed) == (contestant, seed) and set(selections) <= set(job.selections):
            return replace(job, selections=tuple(selections))
    raise Refused(
        f"the bench at {folder} has no contestant {contestant!r} with seed {seed} and {', '.join(selections)}"
    )
