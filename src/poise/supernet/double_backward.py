"""Second derivatives of functions whose first derivative is written by hand.

A hand-written backward pass is fast and can be taken once. When a caller asks for a gradient that can be
differentiated again (``create_graph=True``; autograd then runs the backward pass with gradients enabled), the function
is computed once more from its inputs by ordinary operations, and autograd differentiates those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def differentiable_gradient(
    function: Callable[[Sequence[Tensor | None]], Tensor],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    upstream: Tensor,
) -> list[Tensor | None]:
    """``Σ upstream·∂function/∂input`` for every input that is ``needed``, else None, as a graph of its own.

    Args:
        function: the same function as the one whose backward pass asks, of plain differentiable operations.
        inputs: as saved by its forward pass; the second derivative flows on into what they came from.
        needed: which inputs need a gradient.
        upstream: the gradient of the function's value.
    """
    with torch.enable_grad(), torch.autocast(upstream.device.type, enabled=False):
        # Each a name of its own: where one input came from another, its part must not be counted twice.
        own = [None if value is None else value.view_as(value) for value in inputs]
        wanted = [value for value, needs in zip(own, needed, strict=True) if needs and value is not None]
        found = iter(
            torch.autograd.grad(function(own), wanted, upstream, create_graph=True, materialize_grads=True)
            if wanted
            else ()
        )
        return [next(found) if needs and value is not None else None for value, needs in zip(own, needed, strict=True)]
