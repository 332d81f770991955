"""Labels of any form, for a loss of one's own: nothing is asked of them but that there is one for each input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from poise.data.as_tensors import as_tensors, stacked
from poise.data.labels.labels import Labels, Seen
from poise.errors import Refused
from poise.supernet.trees import Tree, tensors


@dataclass(frozen=True)
class Anything(Labels):
    """A tree of tensors ``[n, ...]``, as they come; float64 becomes float32."""

    what: ClassVar[str] = "targets"

    def choose(self, table: Mapping[str, str], where: str) -> tuple[str, ...]:
        raise Refused(f"{where} is a table; a task of your own takes arrays or a torch Dataset, from Python")

    def read(self, values: Any, where: str, names: Sequence[str] = ()) -> Tree:
        """Of a list, as a Dataset gives it, one tree for each input; else one tree for all of them."""
        found = stacked(values, f"targets of {where}") if isinstance(values, list) else as_tensors(values, where)
        return _single(found)

    def names(self, labels: Tree, given: Sequence[str], where: str) -> tuple[str, ...]:
        return tuple(given)

    def check_training(self, labels: Tree, names: Sequence[str], where: str) -> None:
        """Two at least."""
        if len(tensors(labels)[0]) < 2:
            raise Refused(f"{where} has fewer than 2 inputs")

    def check_test(self, labels: Tree, training: Tree, names: Sequence[str], where: str) -> None:
        """They have the form of those of the training split."""
        found, expected = ([(leaf.shape[1:], leaf.dtype) for leaf in tensors(each)] for each in (labels, training))
        if found != expected:
            raise Refused(f"the targets of {where} have another form than those of the training split")

    def strata(self, labels: Tree) -> Tensor:
        """Nothing is known of them."""
        return torch.zeros(len(tensors(labels)[0]), dtype=torch.int64)

    def seen(self, labels: Tree, names: Sequence[str]) -> Seen:
        return Seen(tuple(names))


def _single(tree: Tree) -> Tree:
    """The tree with its float64 tensors in float32."""
    return tree_map_only(Tensor, lambda leaf: leaf.float() if leaf.dtype == torch.float64 else leaf, tree)
