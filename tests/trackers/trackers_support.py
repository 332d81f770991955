"""What the tests of trackers share: a search that is stopped after its first epoch, and goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import poise
from poise.engine.checkpointer import RunControl
from poise.engine.events import EpochEnded
from poise.errors import Stopped

TINY: dict[str, Any] = {
    "space.channels": 2, "space.cells": 1, "search.epochs": 3, "search.images_per_half": 40, "search.batch_size": 20,
    "train.epochs": 1, "train.channels": 2, "train.cells": 1, "train.batch_size": 400,
}  # fmt: skip


def search(out: Path, track: Sequence[str] = (), **more: Any) -> Any:
    return poise.search(
        "digits", space="nasbench201", method="darts", settings=TINY, out=out, device="cpu", track=track,
        **({"listen": poise.ignore} | more),
    )  # fmt: skip


def stopped_after_one(out: Path, track: Sequence[str]) -> None:
    """A tracked search that was asked to stop in its second epoch."""
    ended: list[int] = []
    try:
        search(
            out, track, listen=lambda event: ended.append(1) if isinstance(event, EpochEnded) else None,
            control=RunControl(0, asked=lambda: bool(ended)),
        )  # fmt: skip
    except Stopped:
        return
    raise AssertionError("it was not stopped")
