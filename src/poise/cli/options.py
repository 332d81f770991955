"""Options that several commands have, and the examples below every command's help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from poise.errors import Refused, shown, unknown

SETTINGS = "Settings"
RUNS = "Runs"
COST = "Cost target"
CHECKS = "Check first"
MACHINES = "Many runs"
"""Panels of options in the help."""

MOST_SEEDS = 1000

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(("", "Examples:", *(f"  {line}" for line in lines)))


def tidied(command: Any) -> Any:
    """A command of click's, and all below it, without ``<bool>`` beside every flag in the help."""
    for inner in getattr(command, "commands", {}).values():
        tidied(inner)
    for parameter in command.get_params(command.context_class(command, **HELP_NAMES)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return command


def show_help_if_bare(context: typer.Context) -> None:
    """A group of commands without a command shows its help; that is no error."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def rollbacks(on_nan: str) -> int:
    """How often a run that diverges goes back to its last checkpoint."""
    choices = {"stop": 0, "rollback": 3}
    if on_nan not in choices:
        raise unknown("value of --on-nan", on_nan, choices)
    return choices[on_nan]


def names_in(text: str) -> tuple[str, ...]:
    """The parts of a text apart by commas; those inside brackets belong to a value, such as ``[0, 6, 12]``."""
    return tuple(name.strip() for name in re.split(r",(?![^\[]*\])", text) if name.strip())


def seeds_in(text: str) -> tuple[int, ...]:
    """``0-2`` -> 0, 1, 2; ``0,3,5`` -> 0, 3, 5."""
    seeds: list[int] = []
    for part in names_in(text):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise Refused(f"seeds are numbers, such as 0-2 or 0,3,5; got {shown(text)}")
        span = range(int(first), int(last or first) + 1)
        if not 0 < len(span) <= MOST_SEEDS:
            raise Refused(f"seeds {part} are {len(span)}, expected 1 to {MOST_SEEDS}")
        seeds += span
    return tuple(seeds)


Data = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="digits, hf:owner/name, a .npz or .parquet file, or a folder of images or text. See: poise list data",
    ),
]
Task = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What the network is for. See: poise list tasks. Default: as the data says."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        rich_help_panel=SETTINGS,
        help="Change a setting, such as search.epochs=3; may be repeated.",
    ),
]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", rich_help_panel=SETTINGS, help="auto, cpu, cuda or mps; default: auto.")
]
Precision = Annotated[
    str | None, typer.Option(metavar="NAME", rich_help_panel=SETTINGS, help="32, tf32, 64 or bf16-mixed; default: 32.")
]
Seed = Annotated[
    int | None, typer.Option(metavar="NUMBER", rich_help_panel=SETTINGS, help="Seed of everything random; default: 0.")
]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Save the run in this folder.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", rich_help_panel=RUNS, help="Replace the run that is in the folder.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", rich_help_panel=RUNS, help="Go on with the run that is in the folder, if there is one."),
]
Every = Annotated[
    float,
    typer.Option("--checkpoint-every", metavar="SECONDS", rich_help_panel=RUNS, help="Time between checkpoints."),
]
OnNan = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=RUNS,
        help="Where numbers are no longer finite: stop, or rollback to a checkpoint (at most 3 times).",
    ),
]
Devices = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        rich_help_panel=RUNS,
        help="Divide every batch over so many processes on this machine, a device each.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(metavar="SECONDS", rich_help_panel=RUNS, help="How long processes wait for each other; then all end."),
]
AutoBatch = Annotated[
    bool,
    typer.Option("--auto-batch", rich_help_panel=RUNS, help="Use a smaller batch where the one set would not fit."),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", rich_help_panel=RUNS, help="Also track the run there; may be repeated. See: poise list trackers"
    ),
]
Preset = Annotated[str | None, typer.Option(metavar="NAME", help="demo, small or paper; default: small.")]
SomeDevice = Annotated[str, typer.Option(metavar="NAME", rich_help_panel=SETTINGS, help="auto, cpu, cuda or mps.")]
SomePrecision = Annotated[
    str, typer.Option(metavar="NAME", rich_help_panel=SETTINGS, help="32, tf32, 64 or bf16-mixed.")
]
On = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=MACHINES,
        help="Where runs go: local, ray (a Ray that is there, or a new one), ray://HOST:PORT, slurm.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=1,
        rich_help_panel=MACHINES,
        help="Runs side by side.",
        show_default="local: 1; else as many as fit",
    ),
]
Cpus = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=1,
        rich_help_panel=MACHINES,
        help="Cores of each run.",
        show_default="local: a fair share; else 1",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", rich_help_panel=MACHINES, help="Memory of each run, as 8G; not for local."),
]
