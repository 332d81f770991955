"""Multiply-adds and parameters of networks; those of a space are built without memory (torch's meta device).

Multiply-adds are those that torch's own counter finds, for one image (or sample): of convolutions, matrix products,
attention and recurrent layers, biases aside. Normalisations, activations, poolings and sums are not counted, as in the
papers. Parameters are all weights.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from poise.costs.costs import Costs
from poise.costs.operation_counts import FORMULAS
from poise.costs.target import CostTarget
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.everything import Everything, Place, everything_of
from poise.spaces.forms import network_of
from poise.spaces.space import ImageShape, Shape, Space, has_heads
from poise.supernet.groups import searchable
from poise.supernet.trees import Tree, called, mapped


class Uncounted(Refused):
    """A network whose costs cannot be counted, for it fails on the one image, or sample, that they are about."""


def example(shape: Shape, like: Tensor) -> Tree:
    """One image, or one sample, to try a network on: floats at random, in the precision of ``like``, whole numbers 0;
    on its device."""
    generator = torch.Generator().manual_seed(0)

    def filled(zeros: Tensor) -> Tensor:
        floats = zeros.is_floating_point()
        return torch.randn(zeros.shape, generator=generator).to(like) if floats else zeros.to(like.device)

    return mapped(filled, shape.zeros(1))


def show_one(network: nn.Module, shape: Shape) -> None:
    """Let one image, or one sample, pass through a network in evaluation mode. Raises `Uncounted` if it cannot."""
    values = (v for v in chain(network.parameters(), network.buffers()) if v.is_floating_point())
    like = next(values, torch.zeros(()))
    try:
        # Where a default device is set, torch computes attention step by step, which can be counted.
        with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.device(like.device):
            called(network.eval(), example(shape, like))
    except Exception as error:
        if isinstance(shape, ImageShape):
            what = f"image, here of {'×'.join(map(str, (shape.channels, *shape.size)))}"
        else:
            what = f"sample, here of {shape.described}"
        raise Uncounted(
            f"costs are those of one {what}, but {type(network).__name__} fails on it in evaluation mode: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from error


def multiply_adds(whole: Everything, shape: Shape) -> Counter[Place | None]:
    """Candidate -> its multiply-adds in all its places, over all calls; None -> those of what is in every network."""
    found: Counter[Place | None] = Counter()
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)

    def adding(place: Place, sign: int) -> Any:
        def hook(*_: Any) -> None:
            found[place] += sign * counter.get_total_flops()

        return hook

    handles = []
    for place, module in whole.parts.values():
        handles += [
            module.register_forward_pre_hook(adding(place, -1)),
            module.register_forward_hook(adding(place, 1)),
        ]
    try:
        with counter:
            show_one(whole.network, shape)
    finally:
        for handle in handles:
            handle.remove()
    found[None] = counter.get_total_flops() - found.total()
    return Counter({place: flops // 2 for place, flops in found.items()})


def own_parameters(whole: Everything) -> Counter[Place | None]:
    """Candidate -> its parameters in all its places; None -> those of what is in every network.

    Raises:
        Refused: a candidate shares weights with anything else, so that what a network has is not a sum.
    """
    found: Counter[Place | None] = Counter()
    owners: dict[int, tuple[str, Place | None]] = {}
    for path, module in whole.network.named_modules():
        place = place_of(path, whole.places)
        for weight in module.parameters(recurse=False):
            first, owner = owners.setdefault(id(weight), (path, place))
            if owner != place:
                raise Refused(
                    f"{path!r} shares weights with {first!r}, so parameters are no sum over candidates; set a target "
                    f"of macs or latency"
                )
            found[place] += weight.numel() if first == path else 0
    return found


def _counted(whole: Everything, shape: Shape, metric: str) -> Counter[Place | None]:
    return own_parameters(whole) if metric == "parameters" else multiply_adds(whole, shape)


def total(network: nn.Module, shape: Shape, metric: str) -> int:
    """All multiply-adds or parameters of a network; an auxiliary head, which only training uses, is not counted."""
    aside: dict[str, Place] = {"auxiliary": ("auxiliary", 0, 0)} if has_heads(network) else {}
    return _counted(Everything(copy.deepcopy(network), aside), shape, metric)[None]


def count(
    space: Space,
    shape: Shape,
    metric: str,
    channels: int | None = None,
    cells: int | None = None,
    form: str | None = None,
) -> Costs:
    """What the space's networks of this size and form cost, in multiply-adds or parameters.

    Raises:
        Refused: the space cannot say.
    """
    groups = searchable(space.groups)
    whole = everything_of(space, shape, form=form, channels=channels, cells=cells)
    candidates = {group.name: torch.zeros(group.shape, dtype=torch.float64) for group in groups}
    found = _counted(whole, shape, metric)
    for place, number in found.items():
        if place is not None:
            group, row, column = place
            candidates[group][row, column] += number
    return Costs(metric, float(found[None]), groups, candidates)


def place_of(path: str, places: Mapping[str, Place]) -> Place | None:
    """The candidate that the module at this path belongs to; None if it is in every network."""
    while path:
        if path in places:
            return places[path]
        path = path.rpartition(".")[0]
    return None


def cost_of(
    space: Space,
    genotype: Genotype,
    shape: Shape,
    metric: str,
    channels: int | None = None,
    cells: int | None = None,
    form: str | None = None,
) -> int:
    """The multiply-adds or parameters of a genotype's own network, counted on it."""
    with torch.device("meta"):
        network = network_of(space, genotype, shape, form=form, channels=channels, cells=cells, auxiliary=False)
    return total(network, shape, metric)


def countable(target: CostTarget) -> bool:
    """Whether a target is met by counting; latency has to be measured."""
    return target.metric != "latency"
