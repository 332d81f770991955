"""The most memory that a search step takes, over what the process held before it."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from poise.engine.device import Place


def peak_megabytes(prepare: Callable[[], Callable[[], None]], place: Place) -> float | None:
    """Megabytes at the peak of a step, over those before it; None where this cannot be read.

    Args:
        prepare: builds everything and returns the step; picklable, as on a CPU it runs in a fresh process, so that
            the peak is its own.
        place: where.
    """
    if place.device.type == "cuda":
        step = prepare()
        step()  # the first step also makes the optimizers' buffers
        before = torch.cuda.memory_allocated(place.device)
        torch.cuda.reset_peak_memory_stats(place.device)
        step()
        return (torch.cuda.max_memory_allocated(place.device) - before) / 2**20
    if place.device.type != "cpu" or not sys.platform.startswith("linux"):
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_of_process, (prepare,))


def _peak_of_process(prepare: Callable[[], Callable[[], None]]) -> float:
    step = prepare()
    before = _status("VmRSS")
    step()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """A line of the kernel's account of this process, in kilobytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
