"""Measure the latency of a space, or of a module of your own, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from poise.config.resolve import resolve
from poise.engine.events import Listener
from poise.errors import Refused, shown
from poise.report.progress import progress
from poise.spaces.custom import ModuleSpace
from poise.spaces.latency import LatencyTable
from poise.spaces.space import Space, Task
from poise.spaces.timing import ROUNDS
from poise.tasks.images import open_images, shape_of
from poise.workflow import costing


def measure_latency(
    target: nn.Module | Space | str,
    data: Any,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    rounds: int = ROUNDS,
    out: str | Path | None = None,
    overwrite: bool = False,
    listen: Listener | None = None,
) -> LatencyTable:
    """Measure how long each candidate takes on a device, for a target of latency.

    Args:
        target: a module with `poise.Choice` layers, or a space or its name.
        data: what the networks are for: data (one image of it is read), or a `poise.spaces.Task`.
        preset, settings, device: as in `poise.search`; what matters are ``train.channels`` and ``train.cells``.
        rounds: each number is the median of so many runs.
        out: the file to write, which ``poise.CostTarget("latency", seconds, table=out)`` names.
        overwrite: replace the file that is there.
        listen: as in `poise.search`; gets a note of how far sums over candidates are from networks measured as a whole.

    Raises:
        Refused: bad input, a network that cannot take one image, a file that cannot be written.
    """
    if isinstance(target, type) or not isinstance(target, nn.Module | Space | str):
        raise Refused(f"latency is measured of a module with poise.Choice layers or of a space, got {shown(target)}")
    space = ModuleSpace(target) if isinstance(target, nn.Module) else target
    resolved = resolve(space=space, preset=preset, overrides=list((settings or {}).items()), device=device)
    value = resolved.build_space() if isinstance(space, str) else space
    file = None if out is None else costing.new_file(Path(out), overwrite)
    if isinstance(data, Task):
        task = data
    else:
        task = shape_of(open_images(data, value.name, resolved.data.skip_bad_images), resolved.data.size)
    with progress(listen) as hear:
        table = costing.measure_latency(resolved, task, space=value, rounds=rounds, listen=hear)
    if file is not None:
        costing.save_table(file, table)
    return table
