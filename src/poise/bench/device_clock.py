"""Seconds that a device needs for a piece of work."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

TIMES = 5
"""How often a GPU does a piece of work in a row: while it does one, the next is prepared, as in a search."""


def seconds_of(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of one call, until the device is done: a GPU's own account of several, the clock's of one elsewhere."""
    if device.type == "cpu":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    backend = torch.get_device_module(device)
    begin, end = (backend.Event(enable_timing=True) for _ in range(2))
    backend.synchronize()
    begin.record()
    for _ in range(TIMES):
        work()
    end.record()
    backend.synchronize()
    return float(begin.elapsed_time(end)) / 1000 / TIMES
