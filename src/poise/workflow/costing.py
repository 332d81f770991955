"""What the network that a search found costs, beside what was expected and what was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from poise.config.reading import one_line
from poise.config.settings import RunSettings
from poise.engine.checkpoint import write_durably
from poise.engine.device import Place
from poise.engine.events import Listener, Noted, ignore
from poise.engine.run import RunFolder
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.counting import Costed, Uncounted, cost_of
from poise.spaces.latency import LatencyTable, check_own_form
from poise.spaces.space import Space, Task, kept_of
from poise.spaces.timing import ROUNDS, about, compare, measure
from poise.supernet.costs import METRICS, readable
from poise.workflow.prepare import Preparation

FILE = "cost.json"
SIZE = (32, 32)
"""Height and width of images that nothing is said about."""
TRIAL = 2**16
"""Bytes that must fit where a latency table will be written; a large one has half as many."""


def report_cost(
    prepared: Preparation, alphas: Mapping[str, Tensor], genotype: Genotype, listen: Listener
) -> dict[str, Any] | None:
    """The true cost of a genotype's network beside the expected one and the target; None where there is no target.

    ``expected``: of the relaxed alphas. ``summed``: by the sum over what was kept. ``true``: counted on the network
    itself. Latency is measured on it, where the run's device is the one that the table was measured on (else None):
    ``measured`` now, ``true`` at the table's speed, see `poise.spaces.timing.compare`.
    """
    if prepared.aim is None:
        return None
    target, costs = prepared.aim.target, prepared.aim.costs
    space, task, form = prepared.space, prepared.final_shape, prepared.settings.train
    relaxed = {name: prepared.method.relaxation(values.detach().cpu().double()) for name, values in alphas.items()}
    metric = target.metric
    size = (form.channels, form.cells, form.form)
    counted = {name: cost_of(space, genotype, task, name, *size) for name in ("macs", "parameters")}
    summed = costs.of(kept_of(genotype, prepared.groups))
    if metric == "latency":
        true = _measured(prepared.tables[str(target.table)], space, genotype, task, prepared.place)
    else:
        true = {"true": float(counted[metric])}
    expected = float(costs.expected(relaxed))
    found = {"metric": metric, "target": target.value, "expected": expected, "summed": summed, **true, **counted}
    listen(Noted(cost_line(found)))
    return found


def cost_line(found: Mapping[str, Any]) -> str:
    """A cost in one line."""

    def text(name: str) -> str:
        return readable(metric, found[name])

    metric = found["metric"]
    off = f"{found['summed'] / found['target'] - 1:+.1%}"
    if metric != "latency":
        off = f"{found['true'] / found['target'] - 1:+.1%}"
        return f"{metric} of the network: {text('true')} (target {text('target')}, {off}; expected {text('expected')})"
    measured = "not measured here"
    if found["true"] is not None:
        measured = f"{text('true')} measured at the table's speed ({text('measured')} now)"
    return (
        f"latency of the network: {text('summed')} by the table (target {text('target')}, {off}; "
        f"expected {text('expected')}), {measured}"
    )


def save_cost(output: Output, found: Mapping[str, Any] | None) -> None:
    """Write ``cost.json``, if there is a cost to report."""
    if found is not None:
        output.write(FILE, json.dumps(found, indent=2))


def load_cost(folder: RunFolder) -> dict[str, Any] | None:
    """What `save_cost` wrote; None if it wrote nothing. Raises `Refused` if it is damaged."""
    if not (folder.path / FILE).is_file():
        return None
    found = folder.read_json(FILE)
    numbers = [found.get(name) for name in ("target", "expected", "summed", "macs", "parameters")]
    measured = [found[name] for name in ("true", "measured") if found.get(name) is not None]
    if str(found.get("metric")) not in METRICS or not all(isinstance(n, (int, float)) for n in [*numbers, *measured]):
        raise Refused(f"{folder.path / FILE} is damaged: it does not describe a cost")
    return found


def _measured(
    table: LatencyTable, space: Space, genotype: Genotype, task: Task, place: Place
) -> dict[str, float | None]:
    if {**table.device} != about(place.device):
        return {"true": None, "measured": None}
    seconds, speed = compare(table, space, genotype, task, place.device)
    return {"true": seconds / speed, "measured": seconds}


def network_macs(space: Space, genotype: Genotype, task: Task, settings: RunSettings) -> dict[str, float]:
    """``macs`` of a retrained network, for spaces whose networks take images and say what they cost.

    Nobody asked for them, so where they cannot be counted (a module that takes no single image) there are none.
    """
    if not isinstance(space, Costed):
        return {}
    form = settings.train
    try:
        return {"macs": cost_of(space, genotype, task, "macs", form.channels, form.cells, form.form)}
    except Uncounted:
        return {}


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


def measure_latency(
    settings: RunSettings, task: Task, *, space: Space | None = None, rounds: int = ROUNDS, listen: Listener = ignore
) -> LatencyTable:
    """Measure the networks of the settings' space at their ``train.channels`` and ``train.cells`` on their device.

    Args:
        settings: whose space, sizes, device and seed count.
        task: the images that the networks will take.
        space: stands in for the one that the settings name.
        rounds: each number is the median of so many runs.
    """
    if rounds < 1:
        raise Refused(f"a median takes at least 1 round, got {rounds}")
    space, form = space or settings.build_space(), settings.train
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
