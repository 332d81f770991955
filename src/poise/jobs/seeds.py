"""One search with many seeds: a folder with a run for each, and which of them is best by validation."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from poise.config.reading import first_problem
from poise.config.resolve import dump, resolve
from poise.config.settings import RunSettings
from poise.costs.target import CostTarget
from poise.diagnostics.decidedness import Decidedness
from poise.engine.checkpointer import EVERY
from poise.engine.lock import NAME as LOCK
from poise.engine.lock import locked
from poise.engine.run import DRAWN, RunFolder
from poise.errors import Refused
from poise.genotype import Genotype
from poise.jobs.command import HERE, Command
from poise.jobs.executor import open_executor
from poise.jobs.placing import Placing
from poise.jobs.scheduler import PATIENCE, Standing, Watcher, carry_out
from poise.named import FROM_PYTHON, SEEDS_FILE
from poise.trackers.tracker import check_trackers
from poise.workflow.decidedness import load_decidedness
from poise.workflow.inference import inferred

CONFIG = "config.yaml"
FORMAT, VERSION = "poise.seeds", 1


class Seeds(Placing):
    """Which seeds, and how their searches are carried out."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...]
    checkpoint_every: float = EVERY
    on_nan: str = "stop"
    track: tuple[str, ...] = ()

    def commands(self, folder: Path, settings: RunSettings) -> Iterator[Command]:
        """The searches, by seed."""
        for seed in self.seeds:
            work = f"seed-{seed}"
            words = ("search", "--config", f"{HERE}/{CONFIG}", "--seed", str(seed), "--out", f"{HERE}/{work}")
            how: tuple[str, ...] = ("--checkpoint-every", str(self.checkpoint_every), "--on-nan", self.on_nan)
            how += tuple(f"--track={name}" for name in self.track)
            yield Command(
                settings.method_name,
                seed,
                (*words, "--resume", "--patience", str(PATIENCE), *how),
                folder,
                work,
                f"logs/{work}.log",
                f"{work}/history.jsonl",
                (CONFIG,),
                (f"{work}/{DRAWN}",),
                self.needs(settings.device),
            )


@dataclass(frozen=True)
class Found:
    """What the search with one seed found.

    Args:
        seed: of everything random.
        folder: of the run.
        genotype: the architecture.
        metric: the name of the metric that counts.
        value: of the metric on the search half, after the last epoch.
        higher_is_better: which way is better.
        decidedness: of the choices.
    """

    seed: int
    folder: Path
    genotype: Genotype
    metric: str
    value: float
    higher_is_better: bool
    decidedness: Decidedness

    @property
    def rank(self) -> float:
        """Less is better; what is no number is worst."""
        if math.isnan(self.value):
            return math.inf
        return -self.value if self.higher_is_better else self.value

    @property
    def operations(self) -> str:
        """``3 sep_conv_3x3, 1 skip_connect``: what the architecture keeps, the most frequent first."""
        rows = [row for choices in self.genotype.choices.values() for row in choices.values()]
        kept = Counter(name for row in rows for name in row)
        often = sorted(kept.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count} {name}" for name, count in often)

    @property
    def decided(self) -> str:
        """``2 of 6 barely``"""
        leads = self.decidedness
        return "–" if leads.unknown else f"{len(leads.barely)} of {len(leads.leads)} barely"


def seeds_of(**values: Any) -> Seeds:
    """Seeds with these settings. Raises `Refused` for what makes no sense."""
    try:
        given = Seeds.model_validate(values)
    except ValidationError as error:
        raise Refused(first_problem(error)) from None
    if not given.seeds or len(set(given.seeds)) < len(given.seeds):
        raise Refused(f"seeds differ from each other, and there is one at least; got {list(given.seeds)}")
    return given


def search_seeds(
    data: str | Path,
    seeds: Sequence[int],
    out: str | Path,
    *,
    on: str = "local",
    jobs: int | None = None,
    cpus: int | None = None,
    memory: int = 0,
    task: str | None = None,
    space: str | None = None,
    method: str | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: str = "32",
    track: Sequence[str] = (),
    cost_target: CostTarget | None = None,
    watch: Watcher = lambda standings: None,
    asked: Callable[[], bool] = lambda: False,
) -> list[Found]:
    """Search with many seeds, each in a process of its own, here or elsewhere; returns what was found, the best by
    validation first. What is there already is kept, and gone on with.

    Args:
        data: a name or a path, which is the same wherever a search runs.
        seeds: of everything random, one per search.
        out: the folder that holds a run for each: ``seed-0``, ...
        on: an executor: ``local``, ``ray``, ``ray://HOST:PORT``, ``slurm``.
        jobs: side by side at most; None: one on this machine, elsewhere as many as there is room for.
        cpus, memory: cores and bytes of each.
        task, space, method, preset, settings, device, precision, track, cost_target: as in `poise.search`, by name.
        watch: told where every search stands, a few times a second.
        asked: whether to stop.

    Raises:
        Refused: bad input, before anything is written; or a search failed, after all others are done.
        Stopped: ``asked`` for it; all searches are saved.
    """
    check_trackers(track)
    folder = Path(out)
    given = seeds_of(seeds=tuple(seeds), on=on, at_once=jobs, cpus=cpus, memory=memory, track=tuple(track))
    resolved = resolve(
        task=task or inferred(str(data)), space=space, method=method, preset=preset, data=str(data),
        overrides=list((settings or {}).items()), device=device, precision=precision, cost_target=cost_target,
    )  # fmt: skip
    standings = run_seeds(given, resolved, folder, watch, asked)
    failed = [each for each in standings if each.state == "failed"]
    if failed:
        raise Refused(f"{failed[0].command.name} failed: {failed[0].message}; see {folder / 'logs'}")
    return results(folder)


def run_seeds(
    given: Seeds, settings: RunSettings, folder: Path, watch: Watcher = lambda standings: None,
    asked: Callable[[], bool] = lambda: False,
) -> list[Standing]:  # fmt: skip
    """Do what is missing of these searches; returns where each of them stands in the end. See `search_seeds`."""
    check_seeds(settings, folder)
    with closing(open_executor(given.on)) as executor, locked(folder):
        run = RunFolder(folder)
        there = read_seeds(folder)[0].seeds if (folder / SEEDS_FILE).is_file() else ()
        whole = given.model_copy(update={"seeds": tuple(dict.fromkeys((*there, *given.seeds)))})
        run.write(CONFIG, dump(_without_seed(settings)))
        about = {"format": FORMAT, "version": VERSION} | whole.model_dump(mode="json")
        run.write(SEEDS_FILE, json.dumps(about, indent=2))
        return carry_out(list(given.commands(folder, settings)), executor, given.most, watch, asked)


def check_seeds(settings: RunSettings, folder: Path) -> None:
    """Raise `Refused` if these searches cannot be put in this folder. Writes nothing."""
    if settings.data.source == FROM_PYTHON:
        raise Refused("many seeds are searched by processes of their own: pass the data as a name or a path")
    if (folder / SEEDS_FILE).is_file():
        if dump(_without_seed(read_seeds(folder)[1])) != dump(_without_seed(settings)):
            raise Refused(f"{folder} holds searches with other settings, see {folder / CONFIG}; choose another folder")
    elif folder.exists() and (not folder.is_dir() or {file.name for file in folder.iterdir()} - {LOCK}):
        raise Refused(f"{folder} holds something else than searches with many seeds; choose another folder")


def read_seeds(folder: Path) -> tuple[Seeds, RunSettings]:
    """What the folder of a search with many seeds says. Raises `Refused` if it is none."""
    value = RunFolder(folder).read_json(SEEDS_FILE)
    if value.pop("format", None) != FORMAT or value.pop("version", None) != VERSION:
        raise Refused(f"{folder / SEEDS_FILE} is not one that this poise can read")
    try:
        return Seeds.model_validate(value), resolve(file=folder / CONFIG)
    except ValidationError as error:
        raise Refused(f"{folder / SEEDS_FILE} is damaged: {first_problem(error)}") from None


def results(folder: Path) -> list[Found]:
    """What was found so far, the best by validation first."""
    found = [_found(RunFolder(path), seed) for seed in read_seeds(folder)[0].seeds if (path := _done(folder, seed))]
    return sorted(found, key=lambda each: (each.rank, each.seed))


def _done(folder: Path, seed: int) -> Path | None:
    path = folder / f"seed-{seed}"
    return path if (path / DRAWN).is_file() else None


def _found(run: RunFolder, seed: int) -> Found:
    last = run.history()[-1]
    metric = last["metric"]
    name, better = str(metric["name"]), bool(metric["higher_is_better"])
    value = float(last[f"search_{name}"])
    return Found(seed, run.path, run.genotype(), name, value, better, load_decidedness(run))


def _without_seed(settings: RunSettings) -> RunSettings:
    return settings.model_copy(update={"seed": 0})
