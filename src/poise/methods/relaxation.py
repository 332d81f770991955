"""Relaxations: how alphas become a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.errors import Refused
from poise.methods.slots import fills


@fills("relaxation")
@dataclass(frozen=True)
class Softmax:
    """Candidates of a row compete: ``p = softmax(α)``, row by row; ``α`` starts at ``spread·N(0, 1)``.

    Source: Liu et al., DARTS (arXiv:1806.09055), eq. 2; the spread 1e-3 is the released code's. A spread of 0 makes all
    candidates equal, the "blank" supernet of DARTS-PT.
    """

    spread: float = 1e-3
    kind: ClassVar[str] = "softmax"

    def __post_init__(self) -> None:
        if not 0 <= self.spread < float("inf"):
            raise Refused(f"the spread of the initial alphas must be at least 0, got {self.spread}")

    def initial(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """``spread·N(0, 1)``."""
        return self.spread * torch.randn(shape, generator=generator)

    def __call__(self, alphas: Tensor) -> Tensor:
        """``exp α_o / Σ_o' exp α_o'``."""
        return torch.softmax(alphas, dim=-1)

    def renormalise(self, values: Tensor) -> Tensor:
        """Clamp to [0, 1] and divide each row by its sum; a row of zeros becomes one-hot at its former maximum."""
        clamped = values.clamp(0, 1)
        total = clamped.sum(dim=-1, keepdim=True)
        fallback = torch.zeros_like(values).scatter(-1, values.argmax(dim=-1, keepdim=True), 1.0)
        return torch.where(total > 0, clamped / total.where(total > 0, torch.ones_like(total)), fallback)

    def project(self, values: Tensor, centre: Tensor, radius: float) -> Tensor:
        """The Euclidean projection onto ``{p : Σ_o p_o = 1, max(0, c − r) ≤ p ≤ min(1, c + r)}``.

        It is ``clip(v − τ, lower, upper)`` with the ``τ`` that makes the row sum to 1, found by bisection to the last
        bit; ``centre`` must itself sum to 1, so that the set is not empty.
        """
        lower, upper = (centre - radius).clamp(min=0), (centre + radius).clamp(max=1)
        low = (values - upper).amin(dim=-1, keepdim=True)
        high = (values - lower).amax(dim=-1, keepdim=True)
        for _ in range(60 if values.dtype == torch.float64 else 30):
            middle = (low + high) / 2
            over = (values - middle).clamp(lower, upper).sum(dim=-1, keepdim=True) > 1
            low, high = torch.where(over, middle, low), torch.where(over, high, middle)
        return (values - (low + high) / 2).clamp(lower, upper)


@fills("relaxation")
@dataclass(frozen=True)
class Sigmoid:
    """Candidates cooperate, each with a weight of its own: ``p = σ(α)``, entry by entry; ``α`` starts at 0 (p = 0.5).

    Source: Chu et al., Fair DARTS (arXiv:1911.12126), eq. 3.
    """

    kind: ClassVar[str] = "sigmoid"

    def initial(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Zeros."""
        return torch.zeros(shape)

    def __call__(self, alphas: Tensor) -> Tensor:
        """``1 / (1 + exp(−α))``."""
        return torch.sigmoid(alphas)

    def renormalise(self, values: Tensor) -> Tensor:
        """Clamp to [0, 1]: independent weights have no sum to keep."""
        return values.clamp(0, 1)

    def project(self, values: Tensor, centre: Tensor, radius: float) -> Tensor:
        """Clamp to ``[max(0, c − r), min(1, c + r)]``."""
        return values.clamp((centre - radius).clamp(min=0), (centre + radius).clamp(max=1))
