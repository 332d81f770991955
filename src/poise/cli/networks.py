"""The commands about networks: train, evaluate, predict, export."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from poise.cli.console import console, reporter, say, say_files, show_table, telling
from poise.cli.launching import together
from poise.cli.options import (
    AutoBatch,
    Data,
    Device,
    Devices,
    Every,
    OnNan,
    Out,
    Overwrite,
    Precision,
    Resume,
    Seed,
    Set,
    SomeDevice,
    SomePrecision,
    Task,
    Timeout,
    Track,
    rollbacks,
)
from poise.cli.signals import asked_to_stop
from poise.named import TIMEOUT


@telling
def train(
    what: Annotated[
        Path, typer.Argument(metavar="FOLDER|FILE", help="The folder of a search, or a genotype in any notation.")
    ],
    data: Data = None,
    task: Task = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="demo, small, paper, or for cell networks imagenet.")
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Channels of the first cells, or units of a recurrent network."),
    ] = None,
    cells: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Cells; for NAS-Bench-201, cells of each stage.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="NUMBER", help="Epochs.")] = None,
    out: Out = None,
    set_: Set = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    checkpoint_every: Every = 300,
    on_nan: OnNan = "stop",
    auto_batch: AutoBatch = False,
    track: Track = None,
    devices: Devices = None,
    timeout: Timeout = TIMEOUT,
) -> None:
    """Retrain a found genotype from scratch, and measure it on the test split."""
    from poise.workflow.early import check_training

    check_training(what, preset, data, task)
    from poise.trackers.tracker import check_trackers

    check_trackers(track or ())
    from poise.config.reading import parse_override
    from poise.engine.checkpointer import RunControl
    from poise.workflow.retrain import train as work

    sizes = {"train.channels": channels, "train.cells": cells, "train.epochs": epochs}
    overrides = {name: value for name, value in sizes.items() if value is not None}
    overrides |= dict(parse_override(text) for text in set_ or [])
    folder = out or (what / "net" if what.is_dir() else Path("runs") / f"net-{what.stem}")
    with together(devices, timeout) as first, reporter() as listen, asked_to_stop() as asked:
        work(
            what, data, task=task, preset=preset, settings=overrides, seed=seed, device=device, precision=precision,
            out=folder, overwrite=overwrite, resume=resume, auto_batch=auto_batch, track=track or (), listen=listen,
            control=RunControl(checkpoint_every, asked, rollbacks(on_nan)),
        )  # fmt: skip
    if first:
        show_network(folder)


def show_network(folder: Path) -> None:
    from poise.engine.run import RunFolder
    from poise.tasks.task import task_from
    from poise.workflow.show import training_tables

    run = RunFolder(folder)
    show_table(training_tables(run, each=console.full, epochs=console.full))
    say_files(run)
    exports = task_from(run.read_json("network.json").get("task"), folder / "network.json").exports
    say(f"saved in {folder}; next: poise {f'predict {folder} IMAGES' if exports else f'evaluate {folder}'}")


@telling
def evaluate(
    network: Annotated[Path, typer.Argument(metavar="NET", help="The folder of a trained network, or hf:owner/name.")],
    data: Data = None,
    device: SomeDevice = "auto",
    precision: SomePrecision = "32",
    skip_bad_images: Annotated[
        bool | None, typer.Option(help="Leave out images that cannot be read; default: as it was trained.")
    ] = None,
) -> None:
    """Accuracy and loss, and of a language model the perplexity, of a trained network on the test split."""
    from poise.workflow.early import check_network

    check_network(network, data)
    from poise.report.tables import result_rows, result_table
    from poise.workflow.retrain import evaluate as work
    from poise.workflow.retrain import source_of

    with reporter() as listen:
        result = work(
            network,
            data if data is not None else source_of(network),
            device=device,
            precision=precision,
            skip_bad_images=skip_bad_images,
            listen=listen,
        )
    console.print(result_table(result_rows(result, each=console.full)))


@telling
def predict(
    network: Annotated[
        Path, typer.Argument(metavar="NET", help="The folder of a trained network, hf:owner/name, or an .onnx file.")
    ],
    files: Annotated[
        list[str], typer.Argument(metavar="FILES", help="Images, folders of them, or patterns such as 'new/*.jpg'.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="A .csv, .json or .jsonl file, or a folder for masks; default: CSV to standard output.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file, or masks in the folder.")] = False,
    batch_size: Annotated[int, typer.Option(metavar="NUMBER", help="Images in memory at a time.")] = 256,
    device: SomeDevice = "auto",
    precision: SomePrecision = "32",
) -> None:
    """Say what a trained network makes of new images, however many."""
    from poise.named import check_place
    from poise.workflow.early import check_prediction

    check_place(device, precision)
    check_prediction(network, files, out, overwrite, batch_size)
    from rich.console import Console

    from poise.image_files import image_files
    from poise.report.progress import Reporter
    from poise.workflow.predict import predictor, write_predictions

    ready = predictor(network, device=device, precision=precision)
    aside = Console(stderr=True)
    shown = out is None and sys.stdout.isatty()  # what is printed there shows how far it is
    total = sum(1 for each in files for _ in image_files(each)) if aside.is_terminal and not shown else None
    with Reporter(aside, terse=console.terse) as listen:
        try:
            count = write_predictions(
                ready, files, sys.stdout if out is None else out, batch_size=batch_size,
                width=console.width if shown else None, total=total, listen=listen,
            )  # fmt: skip
            sys.stdout.flush()
        except BrokenPipeError:  # whoever reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
    if out is not None:
        then = f"; next: poise export {network} --to onnx" if network.is_dir() else ""
        say(f"predictions for {count.inputs - count.failed:,} images are in {out}{then}")
    if count.failed:
        have = "has" if count.failed == 1 else "have"
        print(f"poise: {count.failed:,} of {count.inputs:,} images {have} no prediction", file=sys.stderr)
        raise typer.Exit(1)


def export(
    network: Annotated[Path, typer.Argument(metavar="NET", help="The folder of a trained network, or hf:owner/name.")],
    to: Annotated[str, typer.Option(metavar="NAME", help="See: poise list exports")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write; default: model, in the network's folder.")
    ] = None,
) -> None:
    """Write a trained network as ONNX, plain Python or safetensors."""
    from poise.workflow.early import check_network

    check_network(network, to=to)
    from poise.engine.run import RunFolder
    from poise.workflow.hub import on_hub
    from poise.workflow.networks_inside import superseded
    from poise.workflow.retrain import export as work

    for file in work(network, to, out):
        say(f"wrote {file}{f'; next: poise predict {file} IMAGES' if file.suffix == '.onnx' else ''}")
    if not on_hub(network) and (text := superseded(RunFolder(network))):
        say(text)


@telling
def push(
    network: Annotated[Path, typer.Argument(metavar="NET", help="The folder of a trained network.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where on the Hub; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Let nobody else see it, if it is made.")] = False,
    message: Annotated[str | None, typer.Option(metavar="WORDS", help="Of the commit.")] = None,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="NAME", help="The network's licence, such as apache-2.0.")
    ] = None,
) -> None:
    """Put a trained network on the Hugging Face Hub, with a model card."""
    from poise.workflow.early import check_pushed

    check_pushed(network, repository, licence)
    from poise.workflow.push import push as work

    say(f"see {work(network, repository, private=private, message=message, licence=licence)}")
    say(f'next: poise predict hf:{repository} new/, or poise.load_network("hf:{repository}")')
