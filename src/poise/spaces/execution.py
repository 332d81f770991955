"""How mixed cells are computed: two exact executions behind one interface, and the rule that picks one.

A cell's nodes come one after the other: what has been computed enters, the next node comes out.

There are two because machines differ in what costs. `poise.spaces.normed` does the least arithmetic and moves the least
memory, in thousands of calls; a CPU computes large problems so. `poise.spaces.stacked` needs a tenth of the calls: it
is for GPUs, where launching a kernel costs more than most kernels take, and for problems so small that calls are all
that they cost. ``auto`` goes by the device and the size of the values that enter a cell (`chosen`); docs/performance.md
has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import Tensor, nn

Execution = Literal["auto", "normed", "stacked"]

WORTH = 2**17
"""Numbers in a value that enters a cell, ``batch · C · height · width``, from which on `normed` is faster on a CPU."""


class Pass(Protocol):
    """One pass through a cell whose every node has an edge from each node before it."""

    def enter(self, values: Sequence[Tensor]) -> None:
        """The cell's inputs, all at once, then every node that later ones read: ``[batch, C, height, width]``."""
        ...

    def node(self) -> Tensor:
        """The next node, ``Σ_edges Σ_o p[edge, o] · o(x_source)``, of all that has entered."""
        ...


def chosen(execution: Execution, mixture: Tensor, size: int, skipping: bool = True) -> Literal["normed", "stacked"]:
    """The execution of a cell: the one that is asked for, or by the rule.

    On a CPU, where looking is free, it is also `Normed` where the mixture leaves candidates out: it skips them.

    Args:
        execution: what is asked for.
        mixture: the cell's.
        size: the numbers in a value that enters the cell.
        skipping: whether the mixture may have a say: not where random numbers are drawn, which must not depend on it.
    """
    if execution != "auto":
        return execution
    if mixture.device.type != "cpu":
        return "stacked"
    skips = skipping and not mixture.requires_grad and not bool(mixture.all())
    return "normed" if skips or size >= WORTH else "stacked"


def use(supernet: nn.Module, execution: Execution) -> None:
    """Let all mixed cells of a supernet be computed so."""
    for module in supernet.modules():
        if hasattr(module, "execution"):
            module.execution = execution  # type: ignore[assignment]
