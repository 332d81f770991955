"""Multiply-adds and parameters, counted on networks built without memory (torch's meta device).

Multiply-adds are those of convolutions and linear layers, for one image: ``outputs · inputs of each``, biases aside.
Normalisations, activations, poolings and sums are not counted, as in the papers. Parameters are all weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.forms import check_form, network_of
from poise.spaces.space import Space, Task
from poise.supernet.costs import Costs, CostTarget
from poise.supernet.groups import decided


@dataclass(frozen=True)
class Everything:
    """A network that keeps every candidate of every row, on the meta device.

    Args:
        network: its forward takes images.
        places: a module's dotted path -> the (group, row, candidate) that it is, by name and indices. What lies under
            no such path is in every network.
    """

    network: nn.Module
    places: Mapping[str, tuple[str, int, int]]


@runtime_checkable
class Costed(Protocol):
    """A space whose networks' costs are sums over what they keep, so that a search can aim at one."""

    def everything(self, task: Task, *, channels: int | None = None, cells: int | None = None) -> Everything:
        """A network of this size that keeps every candidate."""
        ...


def costed(space: Space) -> Costed:
    """The space as one with costs. Raises `Refused` if it has none."""
    if not isinstance(space, Costed):
        raise Refused(
            f"space {space.name!r} cannot say what its networks cost (it has no `everything`), so no target can be set"
        )
    return space


def everything_of(space: Space, task: Task, *, form: str | None, channels: int | None, cells: int | None) -> Everything:
    """``space.everything`` in a form, see `poise.spaces.forms`. Raises `Refused` if the space has none of either."""
    check_form(space, form)
    more: dict[str, Any] = {} if form is None else {"form": form}
    return costed(space).everything(task, channels=channels, cells=cells, **more)


def counts(network: nn.Module, task: Task, metric: str) -> dict[str, int]:
    """The multiply-adds (``macs``) or ``parameters`` of every module that has any of its own, by dotted path."""
    if metric == "parameters":
        own = {path: sum(p.numel() for p in m.parameters(recurse=False)) for path, m in network.named_modules()}
        return {path: count for path, count in own.items() if count}
    found: dict[str, int] = {}

    def hook(path: str) -> Any:
        def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            found[path] = found.get(path, 0) + _multiply_adds(module, output)

        return count

    counted = {path: module for path, module in network.named_modules() if isinstance(module, (_ConvNd, nn.Linear))}
    handles = [module.register_forward_hook(hook(path)) for path, module in counted.items()]
    trains = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.empty(1, task.channels, *task.size, device=next(network.parameters()).device))
    finally:
        network.train(trains)
        for handle in handles:
            handle.remove()
    return found


def _multiply_adds(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, _ConvNd):
        return output.numel() * module.in_channels // module.groups * int(torch.Size(module.kernel_size).numel())
    assert isinstance(module, nn.Linear)
    return output.numel() * module.in_features


def total(network: nn.Module, task: Task, metric: str) -> int:
    """All multiply-adds or parameters of a network; an auxiliary head, which only training uses, is not counted."""
    bare = copy.deepcopy(network).to("meta")
    found = counts(bare, task, metric)
    return sum(count for path, count in found.items() if not path.startswith("auxiliary."))


def count(
    space: Space,
    task: Task,
    metric: str,
    channels: int | None = None,
    cells: int | None = None,
    form: str | None = None,
) -> Costs:
    """What the space's networks of this size and form cost, in multiply-adds or parameters.

    Raises:
        Refused: the space cannot say.
    """
    groups = decided(space.groups)
    whole = everything_of(space, task, form=form, channels=channels, cells=cells)
    candidates = {group.name: torch.zeros(group.shape, dtype=torch.float64) for group in groups}
    fixed = 0
    for path, number in counts(whole.network, task, metric).items():
        place = place_of(path, whole.places)
        if place is None:
            fixed += number
        else:
            group, row, column = place
            candidates[group][row, column] += number
    return Costs(metric, float(fixed), groups, candidates)


def place_of(path: str, places: Mapping[str, tuple[str, int, int]]) -> tuple[str, int, int] | None:
    """The candidate that the module at this path belongs to; None if it is in every network."""
    while path:
        if path in places:
            return places[path]
        path = path.rpartition(".")[0]
    return None


def cost_of(
    space: Space,
    genotype: Genotype,
    task: Task,
    metric: str,
    channels: int | None = None,
    cells: int | None = None,
    form: str | None = None,
) -> int:
    """The multiply-adds or parameters of a genotype's own network, counted on it."""
    with torch.device("meta"):
        network = network_of(space, genotype, task, form=form, channels=channels, cells=cells, auxiliary=False)
    return total(network, task, metric)


def countable(target: CostTarget) -> bool:
    """Whether a target is met by counting; latency has to be measured."""
    return target.metric != "latency"
