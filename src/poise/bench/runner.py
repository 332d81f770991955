"""Get through all jobs of a bench, wherever they run.

A job that fails is reported and does not stop the others. A bench that is stopped goes on where it was: finished jobs
are known by their results, others go on from their last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from poise.bench.bench_folder import Bench, check_bench, missing, open_bench, read_bench
from poise.bench.job import Job, contestant, expected_files
from poise.engine.lock import locked
from poise.errors import Refused
from poise.jobs.command import HERE, Command
from poise.jobs.executor import open_executor
from poise.jobs.scheduler import Standing, Watcher, carry_out
from poise.named import BENCH_FILE
from poise.report.readable_numbers import duration


def run_bench(
    bench: Bench, folder: Path, watch: Watcher = lambda standings: None, asked: Callable[[], bool] = lambda: False
) -> list[Standing]:
    """Do what is missing of what ``bench`` asks for; returns where every job of it stands in the end.

    Args:
        bench: what is compared, and where it runs; what the folder's bench asks for besides is left as it is.
        folder: of the bench; created, or gone on with.
        watch: told where everything stands, a few times a second.
        asked: whether to stop.

    Raises:
        Refused: something of it cannot run (before anything is written), another process works on the bench, or where
            it is to run cannot be reached.
        Stopped: ``asked`` for it; all processes have saved where they were.
    """
    check_bench(folder, bench)
    with closing(open_executor(bench.on)) as executor, locked(folder):
        open_bench(folder, bench)
        return carry_out(list(commands(bench, folder)), executor, bench.most, watch, asked)


def commands(bench: Bench, folder: Path) -> Iterator[Command]:
    """The jobs of a bench as commands."""
    for job in bench.jobs(folder):
        work = job.folder.relative_to(folder)
        yield Command(
            job.contestant,
            job.seed,
            ("bench", "job", HERE, job.contestant, str(job.seed), "--selections", ",".join(job.selections)),
            folder,
            work.as_posix(),
            f"logs/{work.parent.name}-{work.name}.log",
            f"{work.as_posix()}/search/history.jsonl",
            (BENCH_FILE,),
            tuple(f"results/{name}" for name in expected_files(job)),
            bench.needs(job.device),
        )


def estimate(bench: Bench, folder: Path) -> str:
    """What is left to do, and on this machine about how long it takes, from a few measured steps of every contestant.

    Raises `Refused` if the bench cannot run in this folder, before anything is measured.
    """
    check_bench(folder, bench)
    left = [job for job in bench.jobs(folder) if missing(job, folder)]
    if not bench.local:  # whose processors are others
        return f"{len(left)} runs on {bench.on}"
    seconds: dict[str, float] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(bench.threads)
    try:
        for job in left:
            if job.contestant not in seconds:
                seconds[job.contestant] = contestant(job.contestant).seconds(job)
    finally:
        torch.set_num_threads(before)
    at_once = bench.most or 1
    total = sum(seconds[job.contestant] for job in left) / at_once
    return f"{len(left)} runs, {at_once} at a time: about {duration(total)}"


def job_of(folder: Path, contestant: str, seed: int, selections: Sequence[str]) -> Job:
    """One job of the bench in a folder, with these selections alone. Raises `Refused` if the bench has none such."""
    for job in read_bench(folder).jobs(folder):
        if (job.contestant, job.seed) == (contestant, seed) and set(selections) <= set(job.selections):
            return replace(job, selections=tuple(selections))
    raise Refused(
        f"the bench at {folder} has no contestant {contestant!r} with seed {seed} and {', '.join(selections)}"
    )
