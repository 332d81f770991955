"""What the floats of samples are standardised by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from poise.errors import Refused
from poise.supernet.trees import Tree, tensors

PART = 2**24
"""Numbers that statistics are taken of at once."""
SMALLEST = torch.finfo(torch.float32).tiny
"""A deviation below this is none: it would be 0 in the precision that is divided in."""


@dataclass(frozen=True)
class Standard:
    """``(value - mean) / std`` of floats, feature by feature: features lie on axis 1, and values without one are one
    feature. Whole numbers and bools stay as they are.

    ``mean`` and ``std`` hold, for every tensor in the tree's order, one number per feature; none for a tensor that
    stays as it is.
    """

    mean: tuple[tuple[float, ...], ...]
    std: tuple[tuple[float, ...], ...]

    @staticmethod
    def of(inputs: Tree, *, asked: bool = True) -> Standard:
        """Mean and standard deviation (of the population) of inputs ``[n, ...]``, in float64. The deviation of a
        feature that never changes is 1. Not ``asked``: everything stays as it is."""
        found = [_moments(values) if asked else ((), ()) for values in tensors(inputs)]
        return Standard(tuple(mean for mean, _ in found), tuple(std for _, std in found))

    def __call__(self, inputs: Tree, dtype: torch.dtype) -> Tree:
        """Standardised inputs ``[n, ...]``, all floats in ``dtype``; what was float64 is rounded at the end. Raises
        `Refused` for other inputs than those that this was taken of."""
        values, form = tree_flatten(inputs)
        if len(values) != len(self.mean):
            raise Refused(f"there are {len(values)} inputs, expected {len(self.mean)}")
        return tree_unflatten([self._one(index, each, dtype) for index, each in enumerate(values)], form)

    def _one(self, index: int, values: Tensor, dtype: torch.dtype) -> Tensor:
        if not values.is_floating_point():
            return values
        mean, std = self.mean[index], self.std[index]
        if not mean:
            return values.to(dtype)
        exact = torch.promote_types(values.dtype, torch.float32)
        features = values.shape[1] if values.ndim > 1 else 1
        if features != len(mean):
            raise Refused(f"an input has {features} features on axis 1, expected {len(mean)}")
        shape = (-1, *[1] * (values.ndim - 2)) if values.ndim > 1 else ()
        middle, width = (torch.tensor(each, dtype=exact, device=values.device).reshape(shape) for each in (mean, std))
        return values.to(exact).sub(middle).div_(width).to(dtype)

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"mean": [list(each) for each in self.mean], "std": [list(each) for each in self.std]}

    @staticmethod
    def read(facts: Any) -> Standard:
        """From `facts`. Raises `Refused` for what is none."""
        try:
            mean, std = ([tuple(float(n) for n in each) for each in facts[name]] for name in ("mean", "std"))
            if [len(each) for each in mean] != [len(each) for each in std] or not all(
                n > 0 for each in std for n in each
            ):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise Refused("it does not say how inputs were standardised") from None
        return Standard(tuple(mean), tuple(std))


def _moments(values: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not values.is_floating_point():
        return (), ()
    features = values.flatten(2).transpose(0, 1).flatten(1) if values.ndim > 2 else values.reshape(len(values), -1).T
    means, deviations = [], []
    for part in torch.split(features, max(PART // max(features.shape[1], 1), 1)):
        variance, mean = torch.var_mean(part.cpu().double(), dim=1, correction=0)
        still = (part == part[:, :1]).all(dim=1).cpu()  # rounding would leave it a tiny deviation
        means.append(torch.where(still, part[:, 0].cpu().double(), mean))
        std = variance.sqrt()
        deviations.append(torch.where(still | (std < SMALLEST), torch.ones_like(std), std))
    return tuple(torch.cat(means).tolist()), tuple(torch.cat(deviations).tolist())
