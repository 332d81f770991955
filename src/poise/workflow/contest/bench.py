"""A bench: what is compared, and the folder that holds it. The runner fills it, the report reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from poise.bench.protocol import protocol
from poise.bench.result import Result, read_result, safe
from poise.config.values import first_problem
from poise.engine.lock import NAME as LOCK
from poise.engine.run import RunFolder
from poise.engine.settings import Settings, Size
from poise.errors import Refused
from poise.selection.rule import SELECTIONS
from poise.workflow.contest.job import OWN, Job, check, expected_files

FILE = "bench.json"


class Bench(Settings):
    """Contestants × seeds, each with every selection."""

    protocol: str
    contestants: tuple[str, ...]
    selections: tuple[str, ...]
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...]
    data: str
    device: str = "auto"
    precision: str = "32"
    table: str | None = None
    """Ground truth for the report; the runs never see it."""
    at_once: Size = 1
    """Processes side by side."""

    def jobs(self, folder: Path) -> Iterator[Job]:
        """All jobs, seed by seed, so that every contestant has results early."""
        rules = protocol(self.protocol)
        for seed in self.seeds:
            for label in self.contestants:
                work = folder / "runs" / safe(label) / f"seed-{seed}"
                yield Job(rules, label, seed, self.selections, self.data, self.device, self.precision, work)

    def check(self, folder: Path) -> None:
        """Raise `Refused` if any of it cannot run. Writes nothing."""
        for name in ("contestants", "selections", "seeds"):
            values = getattr(self, name)
            if not values:
                raise Refused(f"a bench needs {name}")
            if len(set(values)) < len(values):
                raise Refused(f"the {name} of a bench differ from each other, got {', '.join(map(str, values))}")
        for rule in self.selections:
            if rule != OWN:
                SELECTIONS[rule]
        names: dict[str, str] = {}
        for label in self.contestants:
            if names.setdefault(safe(label), label) != label:
                raise Refused(f"contestants {names[safe(label)]} and {label} would share a folder")
        for job in self.jobs(folder):
            check(job)


def bench_of(**values: Any) -> Bench:
    """A bench of these values. Raises `Refused` for one that makes no sense."""
    try:
        return Bench.model_validate(values)
    except ValidationError as error:
        raise Refused(first_problem(error)) from None


def read_bench(folder: Path) -> Bench:
    """The bench in a folder. Raises `Refused` if there is none."""
    path = folder / FILE
    if not path.is_file():
        raise Refused(f"there is no bench at {folder}")
    value = RunFolder(folder).read_json(FILE)
    if value.pop("format", None) != "poise.bench" or value.pop("version", None) != 1:
        raise Refused(f"{path} is not a bench that this poise can read")
    try:
        return Bench.model_validate(value)
    except ValidationError as error:
        raise Refused(f"{path} is damaged: {first_problem(error)}") from None


def check_bench(folder: Path, bench: Bench) -> None:
    """Raise `Refused` if the bench cannot run in this folder. Writes nothing.

    Contestants, selections and seeds may be added to a bench that is there; what fixes the comparison may not change.
    """
    if (folder / FILE).is_file():
        before = read_bench(folder)
        for name in ("protocol", "data", "device", "precision"):
            old, new = getattr(before, name), getattr(bench, name)
            if old != new:
                raise Refused(f"the bench at {folder} has {name} {old}, not {new}; choose another folder")
    elif folder.exists() and (not folder.is_dir() or {file.name for file in folder.iterdir()} - {LOCK}):
        raise Refused(f"{folder} holds something that is not a bench; choose another folder")
    bench.check(folder)


def open_bench(folder: Path, bench: Bench) -> None:
    """Write down what the bench in this folder compares."""
    for name in ("results", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    about = {"format": "poise.bench", "version": 1} | bench.model_dump(mode="json")
    RunFolder(folder).write(FILE, json.dumps(about, indent=2))


def missing(job: Job, folder: Path) -> bool:
    """Whether the job still has to be done."""
    return not all((folder / "results" / name).is_file() for name in expected_files(job))


def results_of(folder: Path) -> list[Result]:
    """Everything that was found so far, in the order of the files' names."""
    return [read_result(path) for path in sorted((folder / "results").glob("*.json"))]


def threads_each(jobs: int, cores: int) -> int:
    """Threads for each of ``jobs`` processes: together no more than the cores, since more makes all of them slow."""
    return max(1, cores // jobs)
