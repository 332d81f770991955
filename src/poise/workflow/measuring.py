"""Measure the latency of a space, or of a module of your own, and write the table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from poise.config.reading import one_line
from poise.config.resolve import resolve
from poise.config.settings import RunSettings
from poise.costs.latency import LatencyTable, check_own_form
from poise.costs.target import readable
from poise.costs.timing import ROUNDS, measure
from poise.engine.checkpoint import write_durably
from poise.engine.device import Place
from poise.engine.events import Listener, Noted, ignore
from poise.errors import Refused, shown
from poise.report.progress import progress
from poise.spaces.custom import ModuleSpace
from poise.spaces.sample_shape import SampleShape
from poise.spaces.space import ImageShape, Shape, Space
from poise.tasks.supervised import shape_in

SIZE = (32, 32)
"""Height and width of images that nothing is said about."""
TRIAL = 2**16
"""Bytes that must fit where a latency table will be written; a large one has half as many."""


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
        data: what the networks are for: data, or a `poise.spaces.ImageShape` or `poise.spaces.SampleShape`. Of image
            files one is read.
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
    file = None if out is None else new_file(Path(out), overwrite)
    task = data if isinstance(data, ImageShape | SampleShape) else shape_in(data, resolved)
    with progress(listen) as hear:
        table = measure_table(resolved, task, rounds=rounds, listen=hear)
    if file is not None:
        save_table(file, table)
    return table


def new_file(path: Path, overwrite: bool) -> Path:
    """The path of a table to write, as far as one can know before it is measured: as much is written next to it, and
    removed. Raises `Refused` if it is there already, or cannot be written."""
    try:
        there = path.exists()
        if there and not path.is_file():
            raise Refused(f"cannot write {path}: it is no file")
        if there and not overwrite:
            raise Refused(f"{path} exists; choose another file, or pass --overwrite")
        trial = path.with_name(f".{path.name}.trial")
        try:
            trial.write_bytes(bytes(TRIAL))
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(path, error) from None
    return path


def save_table(path: Path, table: LatencyTable) -> None:
    """Write a table, whole or not at all. Raises `Refused` if it cannot be written: what was there is whole then."""
    try:
        write_durably(path, table.to_json().encode("utf-8"))
    except OSError as error:
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: OSError) -> Refused:
    return Refused(f"cannot write {one_line(str(path), 400)}: {error.strerror or error}")


def measured_size(settings: RunSettings, given: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of the images to measure at: those given, else ``data.size``, else `SIZE`. Raises `Refused` if
    the first two differ: a search with these settings would refuse the table."""
    size = settings.data.size
    own = None if size is None else (size, size)
    if own is not None and given is not None and own != given:
        raise Refused(f"the images are to be {given[0]}x{given[1]}, but data.size is {size}; give one of them")
    return own or given or SIZE


def measure_table(
    settings: RunSettings, task: Shape, *, rounds: int = ROUNDS, listen: Listener = ignore
) -> LatencyTable:
    """Measure the networks of the settings' space at their ``train.channels`` and ``train.cells`` on their device.

    Args:
        settings: whose space, sizes, device and seed count.
        task: the images, or samples, that the networks will take.
        rounds: each number is the median of so many runs.
    """
    if rounds < 1:
        raise Refused(f"a median takes at least 1 round, got {rounds}")
    space, form = settings.space, settings.train
    check_own_form(form.form)
    place = Place.open(settings.device, settings.precision)
    if settings.precision != "32":
        raise Refused(f"latency is measured in precision 32, got {settings.precision}")
    table = measure(
        space, task, channels=form.channels, cells=form.cells, device=place.device, rounds=rounds, seed=settings.seed
    )
    low, high = table.costs(space, task, form.channels, form.cells).range()
    listen(
        Noted(
            f"networks take {readable('latency', low)} to {readable('latency', high)}; the sum over a network's parts "
            f"differs by {table.error:.1%} on average from {len(table.checks)} networks measured as a whole"
        )
    )
    return table
