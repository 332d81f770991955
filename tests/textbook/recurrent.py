"""The recurrent cell of DARTS, plain and slow: time by time, edge by edge, candidate by candidate.

Nothing is batched or shared: the oracle for `poise`'s cells. Masks are given, so that nothing here is random.
"""

from __future__ import annotations

import torch
from torch import Tensor

ACTIVATIONS = {
    "tanh": lambda z: (z.exp() - (-z).exp()) / (z.exp() + (-z).exp()),
    "relu": lambda z: torch.where(z > 0, z, torch.zeros_like(z)),
    "sigmoid": lambda z: 1 / (1 + (-z).exp()),
    "identity": lambda z: z,
}


def batch_norm(x: Tensor) -> Tensor:
    """Over the texts, with the batch's own statistics: ``[texts, units]``."""
    centred = x - x.mean(dim=0)
    return centred / (centred.pow(2).mean(dim=0) + 1e-5).sqrt()


def highway(state: Tensor, product: Tensor, name: str) -> Tensor:
    """``s + σ(c)(f(z) − s)`` for ``(c, z)`` side by side."""
    units = state.shape[1]
    gate = ACTIVATIONS["sigmoid"](product[:, :units])
    return state + gate * (ACTIVATIONS[name](product[:, units:]) - state)


def unroll(
    inputs: Tensor,
    hidden: Tensor,
    first: Tensor,
    matrices: list[Tensor],
    weights: dict[tuple[int, int, str], Tensor],
    masks: tuple[Tensor, Tensor] | None = None,
    normalise: bool = True,
) -> Tensor:
    """Hidden states ``[time, texts, units]``; ``weights``: (state, node, candidate) -> how much of it."""
    over_input, over_hidden = masks if masks else (torch.ones_like(hidden), torch.ones_like(hidden))
    norm = batch_norm if normalise else lambda x: x
    found = []
    for x in inputs:
        joined = torch.cat([x * over_input, hidden * over_hidden], dim=1)
        states = [norm(highway(hidden, joined @ first, "tanh"))]
        for node, matrix in enumerate(matrices, start=1):
            total = torch.zeros_like(hidden)
            for state in range(node):
                for name in ACTIVATIONS:
                    if (state, node, name) in weights:
                        edge = highway(states[state], (states[state] * over_hidden) @ matrix, name)
                        total = total + weights[state, node, name] * edge
            states.append(norm(total))
        hidden = sum(states[1:], start=torch.zeros_like(hidden)) / len(matrices)
        found.append(hidden)
    return torch.stack(found)
