"""One job of a bench: one contestant with one seed, every selection on the supernet of its one search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from poise import registries
from poise.bench.protocol import Protocol as BenchProtocol
from poise.bench.result import Result, file_name
from poise.config.reading import parse_override
from poise.config.resolve import resolve
from poise.config.settings import RunSettings
from poise.engine.checkpoint import write_durably
from poise.engine.checkpointer import RunControl
from poise.engine.events import Listener
from poise.errors import Refused
from poise.named import SEARCH, check_contestant
from poise.registry import Registry


@dataclass(frozen=True)
class Job:
    """What a contestant is given.

    Args:
        protocol: what the bench fixes.
        contestant: a name, and settings that differ from the protocol's: ``lambda-darts:alignment.ramp=0.3``.
        seed: of everything random.
        selections: the rules that choose from the supernet.
        data: where the images are.
        device, precision: to compute on.
        folder: to work in; what is there is gone on with.
    """

    protocol: BenchProtocol
    contestant: str
    seed: int
    selections: tuple[str, ...]
    data: str
    device: str
    precision: str
    folder: Path

    @property
    def name(self) -> str:
        """The contestant's name without its settings."""
        return self.contestant.partition(":")[0]

    def settings(self, method: str) -> RunSettings:
        """The settings of a search with this method, under the protocol."""
        own = [parse_override(text) for text in self.contestant.split(":")[1:]]
        fixed: dict[str, Any] = dict(self.protocol.settings)
        if self.protocol.split_file is not None:
            split = Path(self.data) / self.protocol.split_file
            if split.is_file():
                fixed["data.split_file"] = str(split)
        return resolve(
            space=self.protocol.space, method=method, preset=self.protocol.preset, overrides=[*fixed.items(), *own],
            data=self.data, seed=self.seed, device=self.device, precision=self.precision,
        )  # fmt: skip


class Contestant(Protocol):
    """Finds an architecture under a protocol: a search with a method, or something else to compare with."""

    selections: bool  # whether the bench's selection rules choose; else it chooses itself, once

    def run(self, job: Job, listen: Listener, control: RunControl) -> list[Result]:
        """One result per selection. Goes on where it was stopped."""
        ...

    def seconds(self, job: Job) -> float:
        """About how long the job takes, from a few steps measured with as many threads as this process has."""
        ...


CONTESTANTS: Registry[Contestant] = registries.CONTESTANTS
"""Contestants that are no methods; every method is one by its name."""


FIXED = ("seed", "device", "precision", "data")
"""Settings that every contestant is given: with one of its own its runs would not be what they are called."""


def contestant(label: str) -> Contestant:
    """The contestant of a label. Raises `Refused` for a name that is neither a contestant nor a method."""
    check_contestant(label)
    name = label.partition(":")[0]
    return CONTESTANTS[name if name in CONTESTANTS else SEARCH]


def check(job: Job) -> None:
    """Raise `Refused` for a job that cannot run, before anything is read or written."""
    found = contestant(job.contestant)
    if found is CONTESTANTS[SEARCH]:
        for text in job.contestant.split(":")[1:]:
            name = parse_override(text)[0]
            if name.partition(".")[0] in FIXED:
                raise Refused(f"{name} is fixed by the bench; {job.contestant} cannot set it")
        job.settings(job.name)
    elif ":" in job.contestant:
        raise Refused(f"{job.name} takes no settings, got {job.contestant}")


def expected_files(job: Job) -> list[str]:
    """The files of results that the job makes."""
    rules = job.selections if contestant(job.contestant).selections else ("",)
    return [file_name(job.contestant, rule, job.seed) for rule in rules]


def perform(job: Job, results: Path, listen: Listener, control: RunControl) -> list[Path]:
    """Do the job, and write its results into a folder; returns the files."""
    job.folder.mkdir(parents=True, exist_ok=True)
    files = []
    for result in contestant(job.contestant).run(job, listen, control):
        target = results / result.file_name
        write_durably(target, (result.to_json() + "\n").encode("utf-8"))
        files.append(target)
    return files
