"""What the network that a search found costs, beside what was expected and what was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from poise.config.settings import RunSettings
from poise.costs.counting import Uncounted, cost_of
from poise.costs.latency import LatencyTable
from poise.costs.target import METRICS, readable
from poise.costs.timing import about, compare
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.run import SIZE, RunFolder
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.everything import Costed
from poise.spaces.space import Shape, Space, kept_of
from poise.workflow.prepare import Preparation

FILE = "cost.json"


def report_cost(
    output: Output, prepared: Preparation, alphas: Mapping[str, Tensor], genotype: Genotype, listen: Listener
) -> dict[str, Any] | None:
    """The true cost of a genotype's network beside the expected one and the target, said, and written to ``cost.json``;
    None where there is no target.

    ``expected``: of the relaxed alphas. ``summed``: by the sum over what was kept. ``true``: counted on the network
    itself. Latency is measured on it, where the run's device is the one that the table was measured on (else None):
    ``measured`` now, ``true`` at the table's speed, see `poise.costs.timing.compare`.
    """
    if prepared.aim is None:
        return None
    target, costs = prepared.aim.target, prepared.aim.costs
    space, task, form = prepared.space, prepared.material.final_shape, prepared.settings.train
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
    output.write(FILE, json.dumps(found, indent=2))
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


def load_cost(folder: RunFolder) -> dict[str, Any] | None:
    """What `report_cost` wrote; None if it wrote nothing. Raises `Refused` if it is damaged."""
    if not (folder.path / FILE).is_file():
        return None
    found = folder.read_json(FILE)
    numbers = [found.get(name) for name in ("target", "expected", "summed", "macs", "parameters")]
    measured = [found[name] for name in ("true", "measured") if found.get(name) is not None]
    if str(found.get("metric")) not in METRICS or not all(isinstance(n, (int, float)) for n in [*numbers, *measured]):
        raise Refused(f"{folder.path / FILE} is damaged: it does not describe a cost")
    return found


def _measured(
    table: LatencyTable, space: Space, genotype: Genotype, task: Shape, place: Place
) -> dict[str, float | None]:
    if {**table.device} != about(place.device):
        return {"true": None, "measured": None}
    seconds, speed = compare(table, space, genotype, task, place.device)
    return {"true": seconds / speed, "measured": seconds}


def network_macs(space: Space, genotype: Genotype, task: Shape, settings: RunSettings) -> dict[str, float]:
    """``macs`` of a retrained network, for spaces that say what their networks cost.

    Nobody asked for them, so where they cannot be counted (a module that takes no single image, or row) there are none.
    """
    if not isinstance(space, Costed):
        return {}
    form = settings.train
    try:
        return {"macs": cost_of(space, genotype, task, "macs", form.channels, form.cells, form.form)}
    except Uncounted:
        return {}


def save_size(output: Output, prepared: Preparation, genotype: Genotype) -> None:
    """Write ``size.json``: parameters and multiply-adds of a genotype's network, where the run is saved and its space
    can say."""
    space, form = prepared.space, prepared.settings.train
    if output.path is None or not isinstance(space, Costed):
        return
    size = (form.channels, form.cells, form.form)
    try:
        shape = prepared.material.final_shape
        found = {name: cost_of(space, genotype, shape, name, *size) for name in ("parameters", "macs")}
    except Refused:
        return
    output.write(SIZE, json.dumps(found) + "\n")
