"""Arrays, lists of numbers and items of datasets, as trees of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from poise.errors import Refused
from poise.supernet.choice import described
from poise.supernet.trees import Tree, in_order_of


def is_image(item: Any) -> bool:
    """Whether a tensor is an image: 8-bit values ``[h, w]`` or ``[c, h, w]``, or floats ``[c, h, w]``."""
    if not isinstance(item, Tensor):
        return False
    return item.ndim in ((2, 3) if item.dtype == torch.uint8 else (3,) if item.is_floating_point() else ())


def as_tensors(tree: Any, where: str) -> Tree:
    """A tree of tensors and arrays, and of lists of numbers, with tensors alone, on the CPU; what cannot be one stays.
    Raises `Refused` for arrays that hold no numbers."""
    if isinstance(tree, Tensor):
        return tree.detach().cpu()
    if hasattr(tree, "__array__") or (isinstance(tree, list) and _numbers(tree)):
        return _tensor(tree, where)
    if isinstance(tree, dict):
        return {name: as_tensors(value, where) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return (tuple if isinstance(tree, tuple) else list)(as_tensors(value, where) for value in tree)
    return torch.tensor(tree) if isinstance(tree, bool | int | float) else tree


def stacked(items: Sequence[Tree], where: str) -> Tree:
    """One tree of tensors ``[n, ...]`` from n trees of tensors. Raises `Refused` if they differ in anything."""
    trees = [as_tensors(item, where) for item in items]
    flat = [tree_flatten(in_order_of(trees[0], tree)) for tree in trees]
    (first, form) = flat[0]
    for row, (values, other) in enumerate(flat):
        odd = next((value for value in values if not isinstance(value, Tensor)), None)
        if odd is not None:
            raise Refused(f"item {row} of {where} holds {described(odd)}, expected tensors or numbers")
        same = [(value.shape, value.dtype) for value in values] == [(value.shape, value.dtype) for value in first]
        if other != form or not same:
            raise Refused(
                f"items of {where} differ: item 0 is {_listed(first)}, item {row} is {_listed(values)}; "
                "make them alike in the dataset, by padding or cutting"
            )
    return tree_unflatten([torch.stack(column) for column in zip(*(values for values, _ in flat), strict=True)], form)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(described, values)) or "nothing"


def _numbers(values: list[Any]) -> bool:
    """Whether lists hold numbers alone."""
    return all(
        _numbers(value) if isinstance(value, list) else isinstance(value, bool | int | float) for value in values
    )


def _tensor(values: Any, where: str) -> Tensor:
    try:
        array = np.asarray(values)
    except ValueError:
        raise Refused(f"{where} have rows of different lengths") from None
    if array.dtype.kind not in "fiub":
        shown = repr(array.flat[0]) if array.size else "nothing"
        raise Refused(f"{where} hold {array.dtype} (found {shown:.40}), expected numbers: turn each column into some")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), order="C", copy=not array.flags.writeable)
    return torch.from_numpy(array)
