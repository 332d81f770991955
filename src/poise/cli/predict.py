"""The command that predicts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from poise.cli.console import console, say
from poise.cli.options import SomeDevice, SomePrecision


def predict(
    network: Annotated[
        Path, typer.Argument(metavar="NET", help="The folder of a trained network, or an exported .onnx file.")
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
    with Reporter(aside) as listen:
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
        say(f"predictions for {count.inputs - count.failed:,} images are in {out}")
    if count.failed:
        have = "has" if count.failed == 1 else "have"
        print(f"poise: {count.failed:,} of {count.inputs:,} images {have} no prediction", file=sys.stderr)
        raise typer.Exit(1)
