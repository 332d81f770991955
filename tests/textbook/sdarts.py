"""SDARTS-ADV's attack as one would write it with a list of rows and loops, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def into_the_simplex(row: Tensor) -> Tensor:
    """Clamped to [0, 1] and divided by the sum; if nothing is left, all of it to what was the largest entry."""
    clamped = torch.clamp(row, 0.0, 1.0)
    if float(clamped.sum()) == 0.0:
        clamped = torch.zeros_like(row)
        clamped[int(torch.argmax(row))] = 1.0
    return clamped / clamped.sum()


def attacked(
    loss: Callable[[Sequence[Tensor]], Tensor],
    clean: Sequence[Tensor],
    noise: Sequence[Tensor],
    epsilon: float,
    steps: int = 7,
    simplex: bool = True,
) -> list[Tensor]:
    """The worst weights that the attack finds, or the clean ones where it finds none that are worse.

    Args:
        loss: of all groups' weights, ``[rows, candidates]`` each; the larger the better for the attack.
        clean: the weights to attack.
        noise: where it starts from them, entries in ``[−epsilon, epsilon]``.
        simplex: whether rows sum to 1; else entries are independent and only clamped.
    """

    def allowed(weights: Tensor) -> Tensor:
        if not simplex:
            return torch.clamp(weights, 0.0, 1.0)
        return torch.stack([into_the_simplex(row) for row in weights])

    found = [allowed(weights + start) for weights, start in zip(clean, noise, strict=True)]
    for _ in range(steps):
        for weights in found:
            weights.requires_grad_()
        descent = torch.autograd.grad(-loss(found), found)
        found = [
            allowed(
                torch.minimum(
                    torch.maximum(weights.detach() - (2 * epsilon / steps) * torch.sign(slope) - start,
                                  torch.full_like(start, -epsilon)),
                    torch.full_like(start, epsilon),
                ) + start
            )
            for weights, slope, start in zip(found, descent, clean, strict=True)
        ]  # fmt: skip
    with torch.no_grad():
        return found if float(loss(found)) > float(loss(clean)) else list(clean)
