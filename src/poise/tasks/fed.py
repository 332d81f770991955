"""What a retraining works with, whatever its data is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from poise.data.batched import Batched
from poise.data.labels import Seen
from poise.data.pixels import Pixels
from poise.data.standard import Standard
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.spaces.custom import ModuleSpace
from poise.spaces.forms import network_of
from poise.spaces.samples import SampleShape
from poise.spaces.space import ImageShape, Shape, Space

Feeding = Callable[[int], Batched]
"""Batches of so many."""


@dataclass(frozen=True)
class Fed:
    """The data of a retraining, opened.

    Args:
        shape: what the network takes and gives.
        seen: what is known of the training split's labels.
        inputs: what the numbers that go in mean.
        training: batches to train on.
        testing: batches to test on; None where there is no test split.
        fingerprint: of everything that is seen.
    """

    shape: ImageShape | SampleShape
    seen: Seen
    inputs: Pixels | Standard
    training: Feeding
    testing: Feeding | None
    fingerprint: Callable[[], str]


def check_names(names: Sequence[str], expected: Sequence[str], named: str, what: str) -> None:
    """Raise `Refused` unless the names of the data's labels are those that a network was trained for."""
    if tuple(names) != tuple(expected):
        raise Refused(
            f"{what} was trained for {len(expected)} {named} ({', '.join(expected)[:60]}); the data has {len(names)} "
            f"({', '.join(names)[:60]})"
        )


def saved_network(folder: RunFolder, space: Space, shape: Shape, **form: Any) -> nn.Module:
    """The network of a run's folder, in evaluation mode. Raises `Refused` if it does not fit."""
    genotype = folder.genotype()
    try:
        network = network_of(space, genotype, shape, **form)
    except Refused as error:
        if not isinstance(space, ModuleSpace):
            raise
        raise Refused(f"module= is not the module of {folder.path}: {error}") from None
    network.load_state_dict(folder.load_tensors("network.safetensors", network.state_dict()))
    return network.eval()
