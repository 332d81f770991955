"""A bench: what is compared, and the folder that holds it. The runner fills it, the report reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from poise.bench.job import Job, check, expected_files
from poise.bench.protocol import protocol
from poise.bench.result import Result, read_result, safe
from poise.config.reading import first_problem
from poise.data import source_name
from poise.engine.lock import NAME as LOCK
from poise.engine.run import RunFolder
from poise.engine.settings import Settings
from poise.errors import Refused
from poise.jobs.placing import Placing
from poise.named import BENCH_FILE, OWN
from poise.selection.rule import SELECTIONS
from poise.truth.shipped import shipped_table
from poise.truth.table import Table, open_table
from poise.workflow.early import check_bench as check_there

VERSION = 2


class Request(Settings):
    """What one command asks for: contestants × seeds, each with every selection."""

    contestants: tuple[str, ...]
    selections: tuple[str, ...]
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...]

    def within(self, other: Request) -> bool:
        """Whether the other one asks for all of this."""
        return all(set(getattr(self, name)) <= set(getattr(other, name)) for name in Request.model_fields)

    def check(self) -> None:
        """Raise `Refused` if it asks for nothing, for something twice, or for an unknown rule."""
        for name in Request.model_fields:
            values = getattr(self, name)
            if not values:
                raise Refused(f"a bench needs {name}")
            if len(set(values)) < len(values):
                raise Refused(f"the {name} of a bench differ from each other, got {', '.join(map(str, values))}")
        for rule in self.selections:
            if rule != OWN:
                SELECTIONS[rule]


class Bench(Placing):
    """What all commands together asked for, and what is the same for all of it."""

    protocol: str
    requests: tuple[Request, ...]
    data: str
    device: str = "auto"
    precision: str = "32"
    table: str | None = None
    """Ground truth for the report; no search sees it. None: the table that comes with poise."""

    def jobs(self, folder: Path) -> Iterator[Job]:
        """All jobs, each with every selection that was asked of it; seed by seed, so that every contestant has results
        early."""
        rules = protocol(self.protocol)
        asked: dict[tuple[str, int], dict[str, None]] = {}
        for request in self.requests:
            for seed in request.seeds:
                for label in request.contestants:
                    asked.setdefault((label, seed), {}).update(dict.fromkeys(request.selections))
        for (label, seed), selections in asked.items():
            work = folder / "runs" / safe(label) / f"seed-{seed}"
            yield Job(rules, label, seed, tuple(selections), self.data, self.device, self.precision, work)

    def extended(self, more: Bench) -> Bench:
        """With what ``more`` asks for; the table is its, if it has one, and where it runs. The data stays as it is
        written, since searches that were begun go on with the same settings only."""
        kept = [request for request in self.requests if not any(map(request.within, more.requests))]
        new = [request for request in more.requests if not any(map(request.within, kept))]
        table = self.table if more.table is None else more.table
        return self.model_copy(update={"requests": (*kept, *new), "table": table, **more.places()})

    def check(self, folder: Path) -> None:
        """Raise `Refused` if any of it cannot run. Writes nothing."""
        for request in self.requests:
            request.check()
        for job in self.jobs(folder):
            check(job)

    def check_folders(self) -> None:
        """Raise `Refused` if two contestants would work in the same folder."""
        names: dict[str, str] = {}
        for label in (label for request in self.requests for label in request.contestants):
            if names.setdefault(safe(label), label) != label:
                raise Refused(f"contestants {names[safe(label)]} and {label} would share a folder")


def bench_of(
    *, contestants: Sequence[str], selections: Sequence[str], seeds: Sequence[int], data: str,
    table: str | Path | None = None, **values: Any,
) -> Bench:  # fmt: skip
    """A bench that asks for these; paths become absolute, so that it can be gone on with from anywhere. Raises
    `Refused` for one that makes no sense."""
    request = {"contestants": contestants, "selections": selections, "seeds": seeds}
    places = {"data": source_name(data), "table": None if table is None else str(Path(table).resolve())}
    try:
        return Bench.model_validate(values | places | {"requests": [request]})
    except ValidationError as error:
        raise Refused(first_problem(error)) from None


def read_bench(folder: Path) -> Bench:
    """The bench in a folder. Raises `Refused` if there is none."""
    check_there(folder)
    value = RunFolder(folder).read_json(BENCH_FILE)
    version = value.pop("version", None)
    if value.pop("format", None) != "poise.bench" or version not in (1, VERSION):
        raise Refused(f"{folder / BENCH_FILE} is not a bench that this poise can read")
    if version == 1:  # which held what the last command asked for
        value["requests"] = [{name: value.pop(name) for name in Request.model_fields if name in value}]
    try:
        return Bench.model_validate(value)
    except ValidationError as error:
        raise Refused(f"{folder / BENCH_FILE} is damaged: {first_problem(error)}") from None


def check_bench(folder: Path, bench: Bench) -> None:
    """Raise `Refused` if the bench cannot run in this folder. Writes nothing.

    Contestants, selections and seeds may be added to a bench that is there; what fixes the comparison may not change.
    """
    bench.check_folders()
    if (folder / BENCH_FILE).is_file():
        before = read_bench(folder)
        for name in ("protocol", "data", "device", "precision"):
            old, new = getattr(before, name), getattr(bench, name)
            if old != new and not (name == "data" and source_name(old) == source_name(new)):
                raise Refused(f"the bench at {folder} has {name} {old}, not {new}; choose another folder")
        before.extended(bench).check_folders()
    elif folder.exists() and (not folder.is_dir() or {file.name for file in folder.iterdir()} - {LOCK}):
        raise Refused(f"{folder} holds something that is not a bench; choose another folder")
    bench.check(folder)


def truth_of(bench: Bench, table: str | Path | None = None) -> Table:
    """Ground truth for what the bench searches: ``table``, else the bench's own, else the one that comes with poise.

    Raises `Refused` if it holds none, of the bench's space and metrics.
    """
    rules = protocol(bench.protocol)
    where = bench.table if table is None else table
    truth = (shipped_table(rules.space) if where is None else open_table(where)).of(rules.space)
    for metric in (rules.metric, *rules.checks):
        truth.column(metric)
    return truth


def open_bench(folder: Path, bench: Bench) -> None:
    """Write down what the bench in this folder compares, beside what it compared before."""
    for name in ("results", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    whole = read_bench(folder).extended(bench) if (folder / BENCH_FILE).is_file() else bench
    about = {"format": "poise.bench", "version": VERSION} | whole.model_dump(mode="json")
    RunFolder(folder).write(BENCH_FILE, json.dumps(about, indent=2))


def missing(job: Job, folder: Path) -> list[str]:
    """The files of results that the job still has to make."""
    return [name for name in expected_files(job) if not (folder / "results" / name).is_file()]


def results_of(folder: Path) -> list[Result]:
    """Everything that was found so far, in the order of the files' names."""
    return [read_result(path) for path in sorted((folder / "results").glob("*.json"))]
