"""How mixed cells are computed: the interface of an execution.

Every execution is exact. A cell's nodes come one after the other: what has been computed enters, the next node comes
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from poise.spaces.normed import Normed


class Pass(Protocol):
    """One pass through a cell whose every node has an edge from each node before it."""

    def enter(self, values: Sequence[Tensor]) -> None:
        """The cell's inputs, all at once, then every node that later ones read: ``[batch, C, height, width]``."""
        ...

    def node(self) -> Tensor:
        """The next node, ``Σ_edges Σ_o p[edge, o] · o(x_source)``, of all that has entered."""
        ...


def begin(edges: Sequence[nn.Module], mixture: Tensor, stride: int, training: bool, skip_dropout: float) -> Pass:
    """A pass through a cell. The arguments are those of `Normed`."""
    return Normed(edges, mixture, stride, training, skip_dropout)
