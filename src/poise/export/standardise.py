"""Standardisation as a part of the network, so that it takes samples as they come."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from poise.data.standard import Standard
from poise.spaces.sample_shape import SampleShape
from poise.supernet.trees import called


class Standardised(nn.Module):
    """``network`` with ``(x - mean) / std`` before it, feature by feature, and ``finish`` after it.

    Takes samples as ``shape`` says, several inputs by position or by name, as the network itself does; floats in any
    precision.
    """

    def __init__(self, shape: SampleShape, standard: Standard, network: nn.Module, finish: nn.Module | None) -> None:
        super().__init__()
        self.network, self.finish = network, finish
        inputs = tree_flatten(shape.inputs)[0]
        for index, (each, mean, std) in enumerate(zip(inputs, standard.mean, standard.std, strict=True)):
            sides = (-1, *[1] * (len(each.shape) - 1)) if each.shape else ()
            for name, values in (("mean", mean), ("std", std)):
                numbers = torch.tensor(values).reshape(sides) if values else None
                self.register_buffer(f"{name}_{index}", numbers)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        given = options or (inputs if len(inputs) != 1 else inputs[0])
        values, form = tree_flatten(given)
        found = called(self.network, tree_unflatten([self._one(i, each) for i, each in enumerate(values)], form))
        return found if self.finish is None else self.finish(found)

    def _one(self, index: int, values: Tensor) -> Tensor:
        if not values.is_floating_point():
            return values
        mean, std = getattr(self, f"mean_{index}"), getattr(self, f"std_{index}")
        return values.float() if mean is None else ((values - mean) / std).float()


class Placed(nn.Module):
    """``network`` with the tensors of its inputs side by side, in the order of their tree."""

    def __init__(self, network: nn.Module, shape: SampleShape) -> None:
        super().__init__()
        self.network = network
        self._form = tree_flatten(shape.inputs)[1]

    def forward(self, *inputs: Tensor) -> Any:
        return called(self.network, tree_unflatten(list(inputs), self._form))


def places(tree: Any, name: str = "") -> list[str]:
    """A name for each tensor of a tree: ``tokens``, or ``input_0_tokens`` further inside; alone, ``input``."""
    if isinstance(tree, dict):
        return [found for key, part in tree.items() for found in places(part, f"{name}_{key}" if name else str(key))]
    if isinstance(tree, tuple | list):
        return [found for i, part in enumerate(tree) for found in places(part, f"{name or 'input'}_{i}")]
    return [name or "input"]
