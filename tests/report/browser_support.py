"""Pages of real runs, small as they are, and a browser to look at them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import poise
from poise.bench.report import report
from poise.engine.run import RunFolder

SCREENS = Path(__file__).parent / "screens"
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "nb201-small"
WIDTHS, SCHEMES = (390, 800, 1600), ("light", "dark")
COLUMNS = 80
"""Points of a stored picture's rows."""

SCRIPT, QUOTES, LONG = "<script>alert(1)</script>", "\"quoted' & <b>bold</b>", "x" * 10_000
NAME = "a <img src=x onerror=alert(1)> run"
TINY: dict[str, Any] = {
    "search.epochs": 4, "search.batch_size": 24, "space.channels": 2, "space.cells": 3,
    "search.alphas.learning_rate": 0.3,
}  # fmt: skip
TRAIN = {
    "train.epochs": 2, "train.batch_size": 16, "train.channels": 2, "train.cells": 3, "train.drop_path": 0.0,
    "train.auxiliary": 0.0,
}  # fmt: skip


def images(count: int) -> poise.Images:
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return poise.Images(pixels, torch.arange(count) % 3, (SCRIPT, QUOTES, LONG))


def write_pages(folder: Path) -> dict[str, Path]:
    """The pages of a search, of a training in it, and of a bench."""
    run = folder / NAME
    data = (images(48), images(24))
    found = poise.search(data, space="darts", method="darts", preset="demo", settings=TINY, out=run, device="cpu")
    poise.train(found, data, settings=TRAIN, out=run / "net")
    bench = folder / "bench"
    (bench / "results").mkdir(parents=True)
    shutil.copy(RESULTS / "bench.json", bench)
    for contestant in ("darts", "poise"):
        for file in RESULTS.glob(f"results/{contestant}--*--seed-[012].json"):
            shutil.copy(file, bench / "results")
    report(bench)
    assert RunFolder.kind_of(run / "net") == "train"
    return {"search": run / "report.html", "training": run / "net" / "report.html", "bench": bench / "report.html"}


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


PART, NEARBY = 40, 14
"""Rows of a picture that are compared at once, and by how many they may have moved: three lines of text."""


def small(png: bytes) -> Image.Image:
    """A screenshot in 16 greys and so few points that no letter is left of it."""
    picture = Image.open(io.BytesIO(png)).convert("L")
    height = round(picture.height * COLUMNS / picture.width)
    return picture.resize((COLUMNS, height), Image.Resampling.BOX).quantize(16).convert("L")


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean difference of two pictures, from 0 to 255, each part of the first one beside what is most like it nearby
    in the second: where a line breaks elsewhere, all below it moves. What has no place there is wholly different."""
    a, b = (np.asarray(picture, dtype=np.float64) for picture in (first, second))
    total = 0.0
    for start in range(0, len(a), PART):
        part = a[start : start + PART]
        places = range(max(start - NEARBY, 0), min(start + NEARBY, len(b) - len(part)) + 1)
        total += len(part) * min((float(np.abs(part - b[at : at + len(part)]).mean()) for at in places), default=255.0)
    beyond = max(abs(len(a) - len(b)) - NEARBY, 0)
    return (total + 255 * beyond) / max(len(a), len(b))
