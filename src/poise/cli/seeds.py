"""``poise search --seeds``: many searches that differ in the seed, live, and then as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poise.cli.console import console, say, show_table
from poise.cli.options import seeds_in
from poise.cli.signals import asked_to_stop
from poise.engine.lock import locked
from poise.errors import Refused
from poise.jobs.executor import check_executor

if TYPE_CHECKING:
    from poise.config.settings import RunSettings
    from poise.jobs.seeds import Seeds


@dataclass(frozen=True)
class Place:
    """The options of where many runs go."""

    on: str
    jobs: int | None
    cpus: int | None
    memory: str | None

    def check(self, seeds: str | None, others: Mapping[str, bool]) -> None:
        """Raise `Refused` for a place without seeds to search with, or for seeds with one of the ``others`` that does
        not go with them. Imports nothing of it."""
        if seeds is None:
            if self != Place("local", None, None, None):
                raise Refused("--on, --jobs, --cpus and --memory are for many runs: pass --seeds, too")
            return
        for option, given in others.items():
            if given:
                raise Refused(f"{option} does not go with --seeds")
        seeds_in(seeds)
        check_executor(self.on)

    def seeds(self, text: str, **how: Any) -> Seeds:
        """Seeds that are searched with there."""
        from poise.config.quantities import parse_memory
        from poise.jobs.seeds import seeds_of

        return seeds_of(
            seeds=seeds_in(text), on=self.on, at_once=self.jobs, cpus=self.cpus, memory=parse_memory(self.memory), **how
        )


def wait_for(folder: Path, seconds: float) -> None:
    """Wait for a process that an earlier runner left behind in this folder. Raises `Refused` if it works too long."""
    with locked(folder, seconds):
        pass


def run_and_show_seeds(given: Seeds, settings: RunSettings, folder: Path) -> None:
    """Search with every seed, live where there is a terminal, and show what was found."""
    from poise.cli.board import Board
    from poise.jobs.seeds import results, run_seeds
    from poise.report.readable_numbers import words
    from poise.report.tables import number, rows_table

    if not console.terse:
        say(f"{len(given.seeds)} searches on {given.on}; saved in {folder}")
    with Board(console, terse=console.terse) as board, asked_to_stop() as asked:
        standings = run_seeds(given, settings, folder, board, asked)
    failed = [each for each in standings if each.state == "failed"]
    for each in failed:
        say(f"failed: {each.command.name}: {each.message}")
    found = results(folder)
    if found:
        metric = f"search_{found[0].metric}"
        rows = [["seed", words(metric), "decided", "keeps"]]
        rows += [[str(one.seed), number(metric, one.value), one.decided, one.operations] for one in found]
        show_table(rows_table(rows, ("decided", "keeps")))
        say(f"best by validation: seed {found[0].seed}; next: poise train {found[0].folder}")
    if failed:
        raise Refused(f"{len(failed)} searches failed, see {folder / 'logs'}; poise resume {folder} tries them again")
