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


def count_of(tree: Tree) -> int:
    """How many rows the tensors of a tree have: a dict of one tensor has as many as that."""
    return len(tensors(tree)[0])


def others(tree: Tree) -> list[Any]:
    """What is in a tree and should not be: all that is no tensor."""
    return [leaf for leaf in tree_leaves(tree) if not isinstance(leaf, Tensor)]


def alike(first: Tree, other: Tree) -> bool:
    """Whether two trees have the same tuples, lists and dicts."""
    return bool(tree_flatten(first)[1] == tree_flatten(other)[1])


def in_order_of(first: Tree, tree: Tree) -> Tree:
    """The tree with the names of its dicts in the order that they have in ``first``, as far as they are the same: a
    module may go through what it is given in that order."""
    if isinstance(first, dict) and isinstance(tree, dict) and first.keys() == tree.keys():
        return {name: in_order_of(value, tree[name]) for name, value in first.items()}
    if isinstance(first, tuple | list) and type(first) is type(tree) and len(first) == len(tree):
        return type(first)(in_order_of(one, other) for one, other in zip(first, tree, strict=True))
    return tree
