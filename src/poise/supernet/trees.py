"""Trees: what a module takes that need not be one tensor. A tree is a tensor, or a tuple, list or dict of trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only

Tree: TypeAlias = Any


def arguments(inputs: Tree) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a module is given its inputs: a tuple by position, a dict by keyword, all else as its one argument."""
    if isinstance(inputs, tuple):
        return tuple(inputs), {}
    if isinstance(inputs, dict):
        return (), dict(inputs)
    return (inputs,), {}


def called(module: nn.Module, inputs: Tree) -> Any:
    """The module's answer to inputs that are handed to it as `arguments` says."""
    args, options = arguments(inputs)
    return module(*args, **options)


def mapped(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """The tree with the function's value for each of its tensors; its tuples, lists and dicts are new ones."""
    return tree_map_only(Tensor, function, tree)


def tensors(tree: Tree) -> list[Tensor]:
    """The tensors of a tree, in its order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def others(tree: Tree) -> list[Any]:
    """What is in a tree and should not be: all that is no tensor."""
    return [leaf for leaf in tree_leaves(tree) if not isinstance(leaf, Tensor)]


def alike(first: Tree, other: Tree) -> bool:
    """Whether two trees have the same tuples, lists and dicts."""
    return bool(tree_flatten(first)[1] == tree_flatten(other)[1])
