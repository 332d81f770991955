"""How long a step of the published retraining of a DARTS network takes, and what all of its 600 epochs would.

    python tools/gpu_retrain.py FILE.json
    python tools/gpu_retrain.py FILE.json --compile          which takes minutes to compile

36 channels, 20 cells, 96 images of 32×32, auxiliary head, drop-path: in float32 and bf16, captured and not.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from poise.bench.device_clock import seconds_of
from poise.bench.launches import Launches
from poise.bench.retraining import Retraining
from poise.engine.device import Place
from poise.engine.settings import TrainSettings
from poise.spaces import SPACES

IMAGES = 50_000
TINY = {"channels": 2, "cells": 3, "batch_size": 2}
ROUNDS = 5
WAYS: dict[str, dict[str, str]] = {
    "launched": {"capture": "off"},
    "captured": {"capture": "auto"},
    "compiled, captured": {"capture": "auto", "compile": "on"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true", help="measure the compiled network, too")
    parser.add_argument("--tiny", action="store_true", help="a net so small that only the way is tried")
    given = parser.parse_args()
    published: dict[str, Any] = dict(SPACES["darts"].presets["paper"]["train"])
    side, published = (8, published | TINY) if given.tiny else (32, published)
    found: dict[str, dict[str, float]] = {}
    for precision in ("32", "bf16-mixed"):
        for way, how in WAYS.items():
            if how.get("compile") and not given.compile:
                continue
            settings, place = TrainSettings(**published, **how), Place.open(given.device, precision)  # type: ignore[arg-type]
            retraining = Retraining(settings, side, place)
            retraining.step()
            with Launches() as launched:
                retraining.step()
            for _ in range(2):  # the third is captured
                retraining.step()
            seconds = statistics.median(seconds_of(retraining.step, place.device) for _ in range(ROUNDS))
            hours = seconds * (IMAGES // settings.batch_size) * settings.epochs / 3600
            found[f"{precision}, {way}"] = {"seconds": seconds, "hours": hours, "kernels": launched.kernels}
            print(
                f"{precision}, {way}: {1000 * seconds:.1f} ms a step, {launched.kernels:,} kernels, {hours:.1f} hours "
                f"for {settings.epochs} epochs, replayed: {retraining.replays}",
                flush=True,
            )
            given.file.write_text(json.dumps(found, indent=2), encoding="utf-8")
            del retraining
            if place.device.type == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
