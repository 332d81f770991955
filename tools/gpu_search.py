"""The published search of NAS-Bench-201 with DARTS, for as long as there is time, and how good its cell truly is.

    python tools/gpu_search.py FOLDER --data cifar10/ --split split.json --seconds 240

After every epoch it says what the cell that would be taken then reaches in the benchmark, a line of ``epochs.jsonl``.
The search itself sees none of that. The same command goes on with a search that ran out of time. Without data the
images are noise of CIFAR-10's size: the seconds are those of the published search, the cells mean nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from poise.bench.stepper import random_images
from poise.config.resolve import resolve
from poise.engine.checkpointer import RunControl
from poise.engine.events import EpochEnded, Event, Noted, ignore
from poise.errors import Stopped
from poise.report.known import COLUMNS
from poise.report.progress import epoch_line
from poise.truth.shipped import SPACE, shipped_table
from poise.workflow.context import RunContext
from poise.workflow.prepare import Preparation
from poise.workflow.search import choose, run

CIFAR = (50_000, 32)
"""Images and their side."""
TINY = {
    "space.channels": 2,
    "space.cells": 1,
    "search.images_per_half": 32,
    "search.batch_size": 16,
    "search.epochs": 2,
}


def not_needed() -> NoReturn:
    raise AssertionError("a rule that reads alphas alone asked for a supernet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", help="CIFAR-10, as poise search takes it")
    parser.add_argument("--split", type=Path, help="the benchmark's halves: {'train': [...], 'valid': [...]}")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a net and data so small that only the way is tried")
    given = parser.parse_args()
    end = time.monotonic() + given.seconds
    data = given.data or random_images(*((64, 8) if given.tiny else CIFAR))
    overrides: dict[str, Any] = dict(TINY) if given.tiny else {}
    if given.split is not None:
        overrides["data.split_file"] = str(given.split)
    settings = resolve(
        space=SPACE, method="darts", preset="paper", data=data, device=given.device, overrides=list(overrides.items())
    )
    prepared = Preparation.of(settings, data)
    table = shipped_table(SPACE)
    given.folder.mkdir(parents=True, exist_ok=True)
    lines = (given.folder / "epochs.jsonl").open("a", encoding="utf-8")

    def judge(record: Mapping[str, Any]) -> None:
        alphas = {name: torch.tensor(values) for name, values in record["alphas"].items()}
        cell = choose(prepared, alphas, not_needed, ignore)
        values = table.lookup(cell)
        truth = {name: values[column] for name, column in COLUMNS.items()}
        text = prepared.space.describe(cell)
        known = ", ".join(f"{name} {value:.2f}%" for name, value in truth.items())
        print(f"{epoch_line('search', dict(record))}\n  {text}: {known}", flush=True)
        lines.write(json.dumps({"epoch": record["epoch"], "seconds": record["seconds"], "cell": text, **truth}) + "\n")
        lines.flush()

    def hear(event: Event) -> None:
        if isinstance(event, EpochEnded):
            judge(event.record)
        elif isinstance(event, Noted):
            print(event.message, flush=True)

    with lines:
        control = RunControl(every=60, asked=lambda: time.monotonic() > end)
        try:
            run(settings, RunContext(given.folder / "search", resume=True, listen=hear, control=control), data=data)
        except Stopped as stopped:
            print(f"out of time: {stopped}")


if __name__ == "__main__":
    main()
