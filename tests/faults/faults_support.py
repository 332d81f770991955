"""What the tests of stops, kills and damage share: tiny runs, what they leave behind, the command line as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import poise
from forked import Forked
from full import FULL
from poise.engine.run import RunFolder

TINY: dict[str, Any] = {
    "space.channels": 2,
    "space.cells": 1,
    "search.epochs": 2,
    "search.images_per_half": 40,
    "search.batch_size": 20,
    "train.epochs": 2,
    "train.channels": 2,
    "train.cells": 1,
    "train.batch_size": 400,
}
PROJECTED = TINY | {"selection": "perturbation", "selection.tune_epochs": 1, "search.epochs": 1}
LONG = TINY | {"search.epochs": 6}
"""A search of some seconds: time to be stopped in."""

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {
    **os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200",
    "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))),
}  # fmt: skip
POISE = [sys.executable, "-m", "poise" if FULL else "unrendered"]
"""The command line; of a sample, figures are not rendered."""

PATIENCE = 600.0
"""Seconds after which a process counts as hanging."""


def outcome(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves behind, seconds aside."""
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= {f"{file.name}/{name}": value for name, value in load_file(file).items()}
    for file in sorted(folder.glob("genotype*.json")):
        found[file.name] = file.read_text()
    records = RunFolder(folder).history()
    found["epochs"] = [record["epoch"] for record in records]
    found["history"] = [{k: v for k, v in record.items() if k != "seconds"} for record in records]
    if (folder / "result.json").is_file():
        found["result"] = (folder / "result.json").read_text()
    return found


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Fail unless two outcomes are equal to the last bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype, name
            assert torch.equal(found[name], value), name
        else:
            assert found[name] == value, name


def search(out: Path, settings: dict[str, Any], method: str = "darts", space: str = "nasbench201", **rest: Any) -> Any:
    """A search in this process."""
    return poise.search("digits", space=space, method=method, settings=settings, out=out, device="cpu", **rest)


def unbroken(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The outcome of a search that nothing disturbs, with as many threads as the processes below have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        search(out, settings)
    finally:
        torch.set_num_threads(threads)
    return outcome(out)


def files(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder, and what it holds."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def searching(out: Path, settings: Mapping[str, Any], data: str | Path = "digits") -> list[str]:
    """The command that searches."""
    words = ["search", "--data", str(data), "--space", "nasbench201", "--method", "darts", "--device", "cpu"]
    return [*words, "--checkpoint-every", "0", "--out", str(out), *overrides(settings)]


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the command line takes them."""
    return [f"--set={name}={value}" for name, value in settings.items()]


def resuming(out: Path) -> list[str]:
    """The command that goes on with a run."""
    return ["resume", str(out), "--checkpoint-every", "0"]


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code (of a signal: minus its number) and what it said on stderr."""

    code: int
    err: str

    @property
    def line(self) -> str:
        """The one line that it said. Fails if it said none, or more."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("poise: "), self.err
        return lines[0]


class Command:
    """The command line at work in a process of its own; it does not outlive the ``with`` block.

    Args:
        words: of the command line.
        prepare: what the process does first.
        program: whether Python is started for it; else, of a sample, it is a fork of this process.
        more: of its environment.
    """

    def __init__(
        self, words: list[str], prepare: Callable[[], None] | None = None, program: bool = FULL,
        more: Mapping[str, str] = {},
    ) -> None:  # fmt: skip
        begin: Any = subprocess.Popen if program else Forked
        self.process = begin(
            [*POISE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**ENVIRONMENT, **more}, preexec_fn=prepare,
        )  # fmt: skip

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def ended(self, patience: float = PATIENCE) -> Ended:
        """Wait for its end."""
        _, err = self.process.communicate(timeout=patience)
        return Ended(self.process.returncode, err)

    def tell(self, number: int) -> bool:
        """Send a signal. False if it had ended before."""
        if self.process.poll() is not None:
            return False
        self.process.send_signal(number)
        return True

    def kill(self) -> bool:
        """``kill -9``. False if it had ended before."""
        return self.tell(signal.SIGKILL) and self.ended().code == -signal.SIGKILL

    def until(self, what: Callable[[], bool]) -> bool:
        """Wait for something to become true; False if the process ends first."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            if what():
                return True
            time.sleep(0.01)
        raise AssertionError(f"nothing happened for {PATIENCE} seconds")

    def at_work(self, folder: Path) -> bool:
        """Wait until it has the run in this folder; False if it ends first."""
        return self.until(lambda: owner(folder) == str(self.process.pid))


def run(words: list[str], prepare: Callable[[], None] | None = None, program: bool = FULL) -> Ended:
    """Run the command line to its end."""
    with Command(words, prepare, program) as command:
        return command.ended()


def owner(folder: Path) -> str:
    """The process that a run's lock names."""
    lock = folder / ".lock"
    return lock.read_text() if lock.is_file() else ""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run."""
    return sorted((folder / "checkpoints").glob("*.checkpoint"))


def stopped(out: Path, settings: Mapping[str, Any], data: str | Path = "digits") -> Ended:
    """Start a search, let it write a checkpoint, and ask it to stop."""
    with Command(searching(out, settings, data)) as command:
        assert command.until(lambda: bool(checkpoints(out)))
        assert command.tell(signal.SIGTERM)
        found = command.ended()
    assert found.code == 75, found
    assert checkpoints(out)
    return found
