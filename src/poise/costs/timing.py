"""Measures how long networks and their candidates take on a device, one image at a time."""

from __future__ import annotations

import copy
import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from poise.costs.costs import Costs, decisions, eligible
from poise.costs.counting import example, show_one
from poise.costs.latency import Check, Form, LatencyTable
from poise.genotype import Genotype
from poise.spaces.everything import Everything, Place, costed
from poise.spaces.space import Shape, Space, genotype_of
from poise.supernet.groups import Kept, searchable
from poise.supernet.trees import arguments

ROUNDS = 30
"""Runs of which the median counts, after `WARM_UP` that do not."""
WARM_UP = 3
NETWORKS = 8
"""Whole networks that a table is fitted to."""

Call: TypeAlias = Callable[[], object]
"""What is timed."""


def clock_of(device: torch.device) -> str:
    """How time is told: on one CPU thread by its own time, which no other process takes part of; else by the wall."""
    exact = time.get_clock_info("thread_time").resolution <= 1e-6
    return "thread" if device.type == "cpu" and torch.get_num_threads() == 1 and exact else "wall"


def about(device: torch.device) -> dict[str, Any]:
    """What times on this device depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "name": name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "clock": clock_of(device),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@torch.no_grad()
def medians(calls: Sequence[Call], device: torch.device, rounds: int) -> list[float]:
    """Seconds of each call, the median of ``rounds``. The calls take turns, so that a slow spell hits all of them."""
    repeats = 1 if device.type == "cpu" else 10  # a device is waited for once in so many calls
    wait = (lambda: None) if device.type == "cpu" else torch.get_device_module(device).synchronize
    clock = time.thread_time if clock_of(device) == "thread" else time.perf_counter
    times: list[list[float]] = [[] for _ in calls]
    for number in range(WARM_UP + rounds):
        for index, call in enumerate(calls):
            wait()
            start = clock()
            for _ in range(repeats):
                call()
            wait()
            if number >= WARM_UP:
                times[index].append((clock() - start) / repeats)
    return [statistics.median(found) for found in times]


def network_seconds(
    space: Space, genotypes: Sequence[Genotype], shape: Shape, channels: int | None, cells: int | None,
    device: torch.device, rounds: int = ROUNDS,
) -> list[float]:  # fmt: skip
    """Seconds that the genotypes' networks take for one image, or sample, each as a whole."""
    args, options = arguments(example(shape, torch.zeros((), device=device)))
    calls = []
    for genotype in genotypes:
        with torch.device("meta"):
            network = space.network(genotype, shape, channels=channels, cells=cells)
        calls.append(partial(_placed(network, device), *args, **options))
    return medians(calls, device, rounds)


def compare(
    table: LatencyTable, space: Space, genotype: Genotype, shape: Shape, device: torch.device
) -> tuple[float, float]:
    """A network's seconds, and the speed of the device now: how long networks of the table take, 1 if as long as when
    it was measured. They take turns with the network, so that the quotient of the two is the network's time at the
    table's speed, whatever else the machine does."""
    known = table.checks[:2]
    others = [Genotype(space.name, check.choices) for check in known]
    form = table.form
    seconds, *now = network_seconds(space, [genotype, *others], shape, form.channels, form.cells, device, table.rounds)
    drift = [new / check.measured for new, check in zip(now, known, strict=True)]
    return seconds, math.prod(drift) ** (1 / max(len(drift), 1))


def measure(
    space: Space,
    shape: Shape,
    *,
    channels: int | None = None,
    cells: int | None = None,
    device: torch.device,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> LatencyTable:
    """The latency table of the space's networks of this size.

    Every candidate is measured alone at its place's shapes. Then whole networks are: the cheapest, the dearest and some
    random ones; ``fixed`` and one factor for all candidates are those that fit them best (least squares of relative
    errors), for a module alone takes another time than the same one between others.

    Raises:
        Refused: the space cannot say what its networks are made of.
    """
    groups = searchable(space.groups)
    whole = costed(space).everything(shape, channels=channels, cells=cells)
    calls, places = _alone(whole, shape, device)
    alone = {group.name: torch.zeros(group.shape, dtype=torch.float64) for group in groups}
    for found, those in zip(medians(calls, device, rounds), places, strict=True):
        for name, row, column in those:
            alone[name][row, column] += found
    costs = Costs("latency", 0.0, groups, alone)
    sample = _sample(costs, random.Random(seed))
    genotypes = [genotype_of(space.name, kept, groups) for kept in sample]
    measured = network_seconds(space, genotypes, shape, channels, cells, device, rounds)
    sums = [costs.of(kept) for kept in sample]
    fixed, factor = fit(sums, measured)
    return LatencyTable(
        Form.of(space, shape, channels, cells),
        about(device),
        rounds,
        fixed,
        {
            group.name: {
                row.name: {
                    name: factor * float(alone[group.name][index, column]) for column, name in enumerate(row.candidates)
                }
                for index, row in enumerate(group.rows)
            }
            for group in groups
        },
        tuple(
            Check({group: dict(rows) for group, rows in genotype.choices.items()}, seconds, fixed + factor * part)
            for genotype, seconds, part in zip(genotypes, measured, sums, strict=True)
        ),
    )


def fit(sums: Sequence[float], measured: Sequence[float]) -> tuple[float, float]:
    """``(fixed, factor)``, both at least 0, with the least ``Σ ((fixed + factor·sum)/measured − 1)²``."""
    x, y = np.array(sums), np.array(measured)
    design = np.stack([1 / y, x / y], axis=1)
    fixed, factor = np.linalg.lstsq(design, np.ones(len(y)), rcond=None)[0]
    if fixed < 0:
        fixed, factor = 0.0, float((x / y).sum() / (x / y).__pow__(2).sum())
    elif factor < 0:
        fixed, factor = float((1 / y).sum() / (1 / y).__pow__(2).sum()), 0.0
    return float(fixed), float(factor)


def _sample(costs: Costs, draw: random.Random) -> list[Kept]:
    """The cheapest choice, the dearest, and random ones: which edges, and which candidates on them."""

    def choice(better: Callable[[float], float] | None) -> Kept:
        kept: dict[str, tuple[tuple[int, ...], ...]] = {}
        for group in costs.groups:
            rows: list[tuple[int, ...]] = [()] * len(group.rows)
            values = costs.candidates[group.name]
            for node, count in decisions(group):
                best = {}
                for row in node:
                    worth = {
                        candidate: draw.random() if better is None else better(float(values[row, candidate]))
                        for candidate in eligible(group, row)
                    }
                    best[row] = max(worth.items(), key=lambda item: item[1])
                for row in sorted(node, key=lambda row: -best[row][1])[:count]:
                    rows[row] = (best[row][0],)
            kept[group.name] = tuple(rows)
        return kept

    ends: list[Callable[[float], float] | None] = [lambda value: -value, lambda value: value]
    return [choice(better) for better in (*ends, *[None] * (NETWORKS - 2))]


def _alone(whole: Everything, shape: Shape, device: torch.device) -> tuple[list[Call], list[list[Place]]]:
    """Calls of single candidates, each with what it gets in the network, and whose they are.

    Where candidates are made by a space of poise, those that read alike are one call; of modules in general that says
    too little.
    """
    seen: list[tuple[str, nn.Module, Any, Any]] = []

    def hook(path: str) -> Any:
        def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            seen.append((path, module, (args, kwargs), output))

        return note

    parts = whole.parts
    handles = [module.register_forward_hook(hook(path), with_kwargs=True) for path, (_, module) in parts.items()]
    show_one(whole.network, shape)
    for handle in handles:
        handle.remove()
    alike: dict[Any, list[Place]] = {}
    calls: list[Call] = []
    for number, (path, module, given, output) in enumerate(seen):
        key: Any = number
        if _bare(whole.network):
            key = (path.rpartition(".")[2], repr(module), given[0][0].shape, output.shape)
        if key not in alike:
            args, kwargs = tree_map_only(Tensor, partial(_filled, device=device), given)
            calls.append(partial(_placed(copy.deepcopy(module), device), *args, **kwargs))
        alike.setdefault(key, []).append(parts[path][0])
    return calls, list(alike.values())


def _bare(module: nn.Module) -> bool:
    """Whether a module is on the meta device, without numbers."""
    return any(value.is_meta for value in chain(module.parameters(), module.buffers()))


def _filled(value: Tensor, device: torch.device) -> Tensor:
    return torch.ones(value.shape, device=device) if value.is_meta else value.to(device)


@torch.no_grad()
def _placed(module: nn.Module, device: torch.device) -> nn.Module:
    """A module put on a device, for evaluation; from the meta device with ordinary numbers in it."""
    if not _bare(module):
        return module.to(device, torch.float32).eval()
    module = module.to_empty(device=device)
    generator = torch.Generator().manual_seed(0)
    for value in (*module.parameters(), *module.buffers()):
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + 0.4)
        else:
            value.zero_()
    for weight in module.parameters():
        if weight.ndim > 1:
            weight.sub_(0.5)
    return module.eval()
