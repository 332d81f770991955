"""``poise bench``: measurements, and comparisons of methods."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.cli.console import console, reporter, say, telling
from poise.cli.launching import together
from poise.cli.options import (
    HELP_NAMES,
    Cpus,
    Devices,
    Jobs,
    Memory,
    On,
    SomeDevice,
    SomePrecision,
    examples,
    names_in,
    seeds_in,
    show_help_if_bare,
)
from poise.cli.signals import asked_to_stop
from poise.engine.lock import locked
from poise.errors import Refused

if TYPE_CHECKING:
    from poise.bench.bench_folder import Bench

PATIENCE = 120.0
"""Seconds that a job waits for a process that an earlier runner left behind."""

bench = typer.Typer(
    help="Compare methods with each other, and speed with the textbook's.",
    context_settings=HELP_NAMES,
    rich_markup_mode="rich",
    invoke_without_command=True,
    callback=show_help_if_bare,
    epilog=examples("poise bench run --protocol smoke --data digits --out b", "poise bench report b"),
)


@bench.command(epilog=examples("poise bench speed --channels 4 --cells 3", "poise bench speed --methods darts,poise"))
def speed(
    space: Annotated[str, typer.Option(metavar="NAME", help="See: poise list spaces")] = "darts",
    channels: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Channels of the supernet; default: the published size.")
    ] = None,
    cells: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Cells of the supernet; default: the published size.")
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="NUMBER", help="Images of a batch.")] = 64,
    image_size: Annotated[int, typer.Option(metavar="PIXELS", help="Height and width of the random images.")] = 32,
    methods: Annotated[str, typer.Option(metavar="NAMES", help="With commas between; default: all.")] = "",
    rounds: Annotated[int, typer.Option(metavar="NUMBER", help="How often each thing is timed.")] = 5,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory, too.")] = True,
    devices: Devices = None,
    device: SomeDevice = "auto",
    precision: SomePrecision = "32",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures as JSON to this file.")] = None,
) -> None:
    """Time a search step and count its kernels: the textbook's, poise's, and every method's.

    With --devices, what it costs to divide every method's step.
    """
    import json

    from poise.bench.speed import speed as work
    from poise.config.values import build
    from poise.report.tables import speed_table
    from poise.spaces.space import SPACES

    sizes = {name: value for name, value in (("channels", channels), ("cells", cells)) if value is not None}
    names, value = tuple(name for name in methods.split(",") if name), build(SPACES[space], sizes, "space")
    form: Any = {
        "batch_size": batch_size, "image_size": image_size, "rounds": rounds, "device": device, "precision": precision,
        "methods": names, "tell": say,
    }  # fmt: skip
    if devices is not None:
        with together(devices) as first:
            _divided(value, form, out if first else None)
        return
    report = work(value, memory=memory, **form)
    console.print(speed_table(report.to_dict()))
    if out is not None:
        out.write_text(json.dumps(report.to_dict(), indent=2), encoding="utf-8")
        say(f"wrote {out}")


def _divided(space: Any, form: Any, out: Path | None) -> None:
    import json

    from poise.bench.scaling import HEAD, scaling
    from poise.report.tables import rows_table

    found = scaling(space, **form)
    console.print(rows_table([HEAD, *(each.row for each in found)], HEAD[:1]))
    if out is not None:
        out.write_text(json.dumps([each.to_dict() for each in found], indent=2), encoding="utf-8")
        say(f"wrote {out}")


@bench.command(
    epilog=examples(
        "poise bench run --protocol smoke --data digits --out b",
        "poise bench run --protocol nb201-small --data photos/ \\",
        "  --methods darts,sdarts-rs:search.epochs=9,random \\",
        "  --seeds 0-9 --out b",
    )
)
@telling
def run(
    protocol: Annotated[str, typer.Option(metavar="NAME", help="smoke, nb201-small, nb201, 1shot1-1, ...")],
    data: Annotated[str, typer.Option(metavar="NAME|PATH", help="Where the images are, as for a search.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder of the bench.")],
    methods: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="With commas between; settings follow colons, see below. Also: random, largest.",
            show_default="five methods of the papers, random",
        ),
    ] = "darts,fair-darts,sdarts-rs,sdarts-adv,lambda-darts,random",
    selections: Annotated[
        str, typer.Option(metavar="NAMES", help="With commas between; own: the method's own rule.")
    ] = "magnitude",
    seeds: Annotated[str, typer.Option(metavar="NUMBERS", help="Such as 0-2, or 0,3,5.")] = "0-2",
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ground truth, for the report; no search sees it.",
            show_default="NAS-Bench-201's, which comes with poise",
        ),
    ] = None,
    on: On = "local",
    jobs: Jobs = None,
    cpus: Cpus = None,
    memory: Memory = None,
    device: SomeDevice = "auto",
    precision: SomePrecision = "32",
) -> None:
    """Compare methods: contestants x seeds, every selection on the supernet of its search. What is there is kept."""
    from poise.bench.protocol import check_names
    from poise.jobs.executor import check_executor
    from poise.named import check_place

    seeds_, contestants, rules = seeds_in(seeds), names_in(methods), names_in(selections)
    check_place(device, precision)
    check_executor(on)
    check_names(protocol, contestants, rules, data)
    from poise.bench.bench_folder import bench_of, truth_of
    from poise.config.quantities import parse_memory

    given = bench_of(
        protocol=protocol, contestants=contestants, selections=rules, seeds=seeds_, data=data,
        device=device, precision=precision, table=table, on=on, at_once=jobs, cpus=cpus, memory=parse_memory(memory),
    )  # fmt: skip
    if given.table is not None:  # only to see that the report can be made
        truth_of(given)
    run_and_show(given, out)


def run_and_show(given: Bench, folder: Path) -> None:
    """Run a bench to its end, live where there is a terminal."""
    from poise.bench.runner import estimate, run_bench
    from poise.cli.board import Board

    if not console.terse:
        say(estimate(given, folder))
    with Board(console, terse=console.terse) as board, asked_to_stop() as asked:
        states = run_bench(given, folder, board, asked)
    failed = [state for state in states if state.state == "failed"]
    for state in failed:
        say(f"failed: {state.command.name}: {state.message}")
    say(f"{len(states) - len(failed)} of {len(states)} runs are done; next: poise bench report {folder}")
    if failed:
        raise Refused(f"{len(failed)} runs failed, see {folder / 'logs'}; the same command tries them again")


@bench.command(epilog=examples("poise bench report b"))
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a bench.")],
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ground truth; default: as the bench was started.")
    ] = None,
) -> None:
    """What a bench has found so far, against ground truth."""
    from poise.workflow.early import check_bench

    check_bench(folder)
    from poise.bench.guarding import guard_rows
    from poise.bench.report import report as work
    from poise.bench.standings import WORDS, standings_table
    from poise.report.tables import rows_table

    found = work(folder, table)
    console.print(standings_table(found.standings))
    if rows := guard_rows(found.standings):
        console.print(rows_table(rows, WORDS))
    if found.missing:
        say("1 result is missing" if found.missing == 1 else f"{found.missing} results are missing")
    for file in found.files:
        say(f"wrote {file}")


@bench.command(epilog=examples("poise bench query genotype.json", "poise bench query genotype.json --table table.csv"))
def query(
    architecture: Annotated[
        str, typer.Argument(metavar="CELL|FILE", help="In the table's notation, or a genotype file.")
    ],
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Ground truth.", show_default="NAS-Bench-201's, which comes with poise"),
    ] = None,
    lower: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric of your own table of which less is better; may be repeated."),
    ] = None,
) -> None:
    """What a table knows of one architecture: true accuracies, rank, percentile, and what else it holds."""
    from poise.bench.standings import query_table
    from poise.engine.run import read_genotype
    from poise.genotype import Genotype
    from poise.truth.shipped import ABOUT, SPACE, shipped_table
    from poise.truth.table import open_table

    is_file = "|" not in architecture and os.path.isfile(architecture)  # also where a text is too long for a name
    wanted = read_genotype(Path(architecture)) if is_file else architecture
    if table is not None:
        console.print(query_table(open_table(table, lower=lower or ()), wanted))
        return
    if lower:
        raise Refused("--lower is for a table of your own; say where it is with --table")
    wanted = Genotype.parse(wanted, SPACE) if isinstance(wanted, str) else wanted
    console.print(query_table(shipped_table(wanted.space), wanted))
    say(ABOUT)


@bench.command("import", epilog=examples("poise bench import nasbench.tfrecord --out table.csv.gz"))
def import_(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="nasbench_only108.tfrecord or nasbench_full.tfrecord.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The compact table to write; .gz compresses it.")],
) -> None:
    """Convert the official file of NAS-Bench-101 to a compact table. NAS-Bench-201's comes with poise."""
    from poise.truth.importing101 import import_nasbench101

    say(f"wrote {import_nasbench101(source, out):,} architectures to {out}")


@bench.command(hidden=True)
def job(folder: Path, contestant: str, seed: int, selections: Annotated[str, typer.Option()]) -> None:
    """One job of a bench."""
    from poise.bench.job import perform
    from poise.bench.runner import job_of
    from poise.engine.checkpointer import RunControl

    given = job_of(folder, contestant, seed, names_in(selections))
    with reporter() as listen, asked_to_stop() as asked, locked(given.folder, patience=PATIENCE):
        for file in perform(given, folder / "results", listen, RunControl(asked=asked)):
            say(f"wrote {file}")
