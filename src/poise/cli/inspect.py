"""The commands that look and measure: show, diagnose, measure-latency, list."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from poise.cli.console import console, reporter, say, say_files, telling
from poise.cli.options import Data, Device, Preset, Set
from poise.errors import Refused


@telling
def show(
    run: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a search, or of a trained network.")],
) -> None:
    """A run's genotype, cells as pictures, curves, results."""
    from poise.engine.run import RunFolder

    kind = "train" if RunFolder.kind_of(run) == "train" else "search"
    folder = RunFolder.open(run, kind)
    from poise.workflow.show import run_tables, show_search, show_training, training_tables

    if kind == "train":
        with suppress(Refused):  # a space that exists in Python only: what is there is shown
            show_training(folder)
        console.print(training_tables(folder, each=console.full))
    else:
        space = show_search(folder)
        console.print(run_tables(folder, space, every=console.full))
        say(space.describe(folder.genotype()))
    say_files(folder)


@telling
def diagnose(
    run: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a search.")],
    only: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Some of them, with commas between. See: poise list diagnostics"),
    ] = None,
    data: Data = None,
    device: Device = None,
    batches: Annotated[
        int, typer.Option(metavar="NUMBER", help="Batches of the search half that the landscape is measured on.")
    ] = 2,
) -> None:
    """What the alphas of a finished search rest on: eigenvalues, landscape, discretisation, alignment, saturation."""
    from poise.workflow.early import check_diagnosis

    names = [name.strip() for name in only.split(",")] if only is not None else []
    check_diagnosis(run, names, data, batches)
    from poise.report.diagnosis import diagnosis_table
    from poise.workflow.diagnose import diagnose as work

    with reporter() as listen:
        found = work(run, names, data=data, device=device, batches=batches, listen=listen)
    console.print(diagnosis_table(found.numbers))
    for file in found.files:
        say(f"wrote {file}")


@telling
def measure_latency(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")] = Path("latency.json"),
    space: Annotated[str | None, typer.Option(metavar="NAME", help="See: poise list spaces. Default: darts.")] = None,
    preset: Preset = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Height and width of the images, as 64 or 48x64. Default: data.size, or else 32."
        ),
    ] = None,
    image_channels: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Channels of the images.")] = 3,
    classes: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Classes.")] = 10,
    rounds: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Runs of which the median counts.")] = 30,
    set_: Set = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Measure how long a space's candidates take on this device, for poise search --target-latency."""
    from poise.config.reading import parse_override
    from poise.named import check_place
    from poise.workflow.early import check_search

    overrides = [parse_override(text) for text in set_ or []]
    check_place(device, None)
    check_search(space=space, preset=preset, overrides=overrides)
    from poise.config.quantities import parse_size
    from poise.config.resolve import resolve
    from poise.spaces.space import ImageShape
    from poise.workflow.measuring import measure_table, measured_size, new_file, save_table

    settings = resolve(space=space, preset=preset, overrides=overrides, device=device)
    pixels = measured_size(settings, None if size is None else parse_size(size, "--size"))
    file = new_file(out, overwrite)
    with reporter() as listen:
        table = measure_table(settings, ImageShape(image_channels, pixels, classes), rounds=rounds, listen=listen)
    save_table(file, table)
    say(f"wrote {out}: {table.form}, {table.device['name']}, {table.device['threads']} threads")


def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="methods, slots, spaces, tasks, systems, selections, data, diagnostics or exports."
        ),
    ],
    long: Annotated[bool, typer.Option("--long", help="Of methods, with their citations.")] = False,
) -> None:
    """What exists."""
    from poise.report.catalogue import catalogue

    console.print(catalogue(what, long))


def doctor() -> None:
    """Versions, devices and extras, as a report of a fault needs them; and whether this installation works."""
    from poise.workflow.doctor import checks, facts

    known = facts()
    width = max(map(len, known))
    for name, text in known.items():
        say(f"{name:<{width}}  {text}")
    faults = 0
    for check in checks():
        say(f"{check.what}: {check.fault or 'works'} ({check.seconds:.1f} s)")
        faults += bool(check.fault)
    if faults:
        print(f"poise: {faults} of the checks failed; please report it with all of this", file=sys.stderr)
        raise typer.Exit(1)
    say("all is well")
