"""The shape of networks for samples of any form: rows of numbers, sounds, tokens, or several inputs together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from poise.errors import Refused
from poise.supernet.trees import Tree


@dataclass(frozen=True)
class Input:
    """One tensor of a sample: its shape, and the name of its dtype (``float32`` for all floats, which come in the run's
    precision)."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.shape))}] {self.dtype}"


@dataclass(frozen=True)
class SampleShape:
    """What a network takes and gives: ``inputs``, a tree of `Input`, which is handed to it as
    `poise.supernet.trees.arguments` says; for each sample ``outputs`` numbers, None where the task does not say how
    many."""

    inputs: Tree
    outputs: int | None = None

    def zeros(self, count: int) -> Tree:
        """A batch of so many samples, all zero, to try a network on."""
        return tree_map(lambda each: torch.zeros(count, *each.shape, dtype=getattr(torch, each.dtype)), self.inputs)

    @property
    def described(self) -> str:
        """What one sample is, in words."""
        if isinstance(self.inputs, Input) and self.inputs.dtype == "float32" and len(self.inputs.shape) == 1:
            return f"{self.inputs.shape[0]} numbers"
        if isinstance(self.inputs, dict):
            return ", ".join(f"{name}: {_shown(value)}" for name, value in self.inputs.items())
        return _shown(self.inputs)

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"inputs": _plain(self.inputs), "outputs": self.outputs}

    @staticmethod
    def of(facts: Any) -> SampleShape:
        """From `facts`. Raises `Refused` for what is none."""
        try:
            outputs = facts["outputs"]
            return SampleShape(_tree(facts["inputs"]), None if outputs is None else int(outputs))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise Refused("it does not say what the network takes and gives") from None


def _shown(tree: Tree) -> str:
    return ", ".join(map(str, tree_leaves(tree)))


_KINDS: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "list": list}


def _plain(tree: Tree) -> dict[str, Any]:
    if isinstance(tree, Input):
        return {"shape": list(tree.shape), "dtype": tree.dtype}
    if isinstance(tree, dict):
        return {"dict": {name: _plain(value) for name, value in tree.items()}}
    return {"tuple" if isinstance(tree, tuple) else "list": [_plain(value) for value in tree]}


def _tree(facts: Any) -> Tree:
    (kind, *_) = facts
    if kind == "dict":
        return {str(name): _tree(value) for name, value in facts["dict"].items()}
    if kind in _KINDS:
        return _KINDS[kind](_tree(value) for value in facts[kind])
    dtype = str(facts["dtype"])
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError
    return Input(tuple(int(side) for side in facts["shape"]), dtype)
