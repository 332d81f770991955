"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str | None,
    typer.Option(help="digits, hf:owner/name, .npz, .parquet, or a folder of images or text. See: poise list data"),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: name=value, such as search.epochs=3.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str | None, typer.Option(help="32, 64 or bf16-mixed.")]
Seed = Annotated[int | None, typer.Option(help="Of everything random.")]
Out = Annotated[Path | None, typer.Option(help="The folder of the run.")]
Overwrite = Annotated[bool, typer.Option(help="Replace the run that is in the folder.")]
Resume = Annotated[bool, typer.Option(help="Go on with the run in the folder, if there is one.")]
Every = Annotated[float, typer.Option("--checkpoint-every", min=0, help="Seconds between checkpoints.")]
OnNan = Annotated[
    str, typer.Option(help="What to do when numbers are no longer finite: stop, or rollback (at most 3 times).")
]
AutoBatch = Annotated[bool, typer.Option("--auto-batch", help="Use a smaller batch where it would not fit.")]
Preset = Annotated[str | None, typer.Option(help="demo, small or paper.")]
