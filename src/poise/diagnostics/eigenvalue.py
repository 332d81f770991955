"""The dominant eigenvalue of ``∇²_α L_val``: how sharp the search loss is around the alphas.

Source: Zela et al., Understanding and Robustifying Differentiable Architecture Search (arXiv:1909.09656), section 4: a
search whose dominant eigenvalue grows finds networks that generalise badly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.diagnostics.diagnostic import Finding, Subject, diagnoses
from poise.diagnostics.sharpness import tridiagonal
from poise.diagnostics.vector import SearchLoss
from poise.engine.streams import stream

STEP = 0.02
"""How far the alphas are moved, as a vector, to see how their gradient changes."""
ITERATIONS = 6


def dominant_eigenvalue(loss: SearchLoss, seed: int, iterations: int = ITERATIONS) -> float:
    """The largest eigenvalue of ``H = ∇²_α L_val(w, α)``, all groups' alphas as one vector.

    Products with ``H`` are central differences of exact gradients, ``Hv ≈ [∇L(α + hv) − ∇L(α − hv)] / (2h)`` with
    ``‖hv‖`` = `STEP`, so a supernet with kinks (ReLU) is smoothed over that distance; the eigenvalue is the largest of
    ``iterations`` steps of Lanczos' method, from a start that is always the same, so it is a lower bound of the
    smoothed one. Takes ``2·batches·iterations`` gradients of the alphas.
    """
    start = torch.randn(loss.point.numel(), generator=stream(seed, "eigenvalue"), dtype=torch.float64)

    def times(vector: Tensor) -> Tensor:
        move = (STEP * vector).to(loss.point)
        return (loss.gradient(loss.point + move) - loss.gradient(loss.point - move)).cpu().double() / (2 * STEP)

    return float(tridiagonal(times, start, iterations).max())


@diagnoses()
@dataclass(frozen=True)
class Eigenvalue:
    """The dominant eigenvalue of the Hessian of the search loss over the alphas.

    The quick one: 6 steps of Lanczos' method on a loss smoothed by differences, see `dominant_eigenvalue`.
    ``spectrum`` is exact.

    Source: RobustDARTS (arXiv:1909.09656), section 4.
    """

    kind: ClassVar[str] = "eigenvalue"
    per_epoch: ClassVar[bool] = True

    def steps(self, subject: Subject) -> int:
        return 6 * min(ITERATIONS, subject.loss.point.numel()) * len(subject.loss)

    def __call__(self, subject: Subject) -> Finding:
        return Finding({"eigenvalue": dominant_eigenvalue(subject.loss, subject.searcher.seed)})
