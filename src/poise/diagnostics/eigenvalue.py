"""The dominant eigenvalue of ``∇²_α L_val``: how sharp the search loss is around the alphas.

Source: Zela et al., Understanding and Robustifying Differentiable Architecture Search (arXiv:1909.09656), section 4: a
search whose dominant eigenvalue grows finds networks that generalise badly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

import torch
from torch import Tensor

from poise.diagnostics.diagnostic import DIAGNOSTICS
from poise.engine.loss import BatchLoss
from poise.engine.search import Searcher
from poise.engine.streams import seed_of, stream
from poise.supernet.groups import expand

STEP = 0.02
"""How far the alphas are moved, as a vector, to see how their gradient changes."""


def dominant_eigenvalue(searcher: Searcher, *, batches: int = 2, iterations: int = 6) -> float:
    """The largest eigenvalue of ``H = ∇²_α L_val(w, α)``, all groups' alphas as one vector.

    ``L_val`` is the mean loss of the first ``batches`` batches of the search half, with batch statistics.
    Products with ``H`` are central differences of exact gradients, ``Hv ≈ [∇L(α + hv) − ∇L(α − hv)] / (2h)`` with
    ``‖hv‖`` = `STEP`; the eigenvalue is the largest of ``iterations`` steps of Lanczos' method, from a start that is
    always the same, so it is a lower bound of the true one, usually a tight one. Takes ``2·batches·iterations``
    gradients of the alphas.
    """
    gradient = _gradient(searcher, batches)
    point = torch.cat([values.detach().flatten() for values in searcher.alphas.values()])
    start = torch.randn(point.numel(), generator=stream(searcher.seed, "eigenvalue"), dtype=torch.float64)

    def times(vector: Tensor) -> Tensor:
        move = (STEP * vector).to(point)
        return (gradient(point + move) - gradient(point - move)).cpu().double() / (2 * STEP)

    return float(tridiagonal(times, start, iterations).max())


def tridiagonal(times: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Tensor:
    """The eigenvalues of a symmetric matrix in the space of ``start`` and its first products, ascending.

    Lanczos' method, orthogonalised in full. ``times``: vector of length 1 -> matrix times vector, both float64.
    """
    basis: list[Tensor] = []
    products: list[Tensor] = []
    vector = start / start.norm()
    for _ in range(min(iterations, start.numel())):
        basis.append(vector)
        products.append(times(vector))
        rest = products[-1].clone()
        for _ in range(2):  # once leaves rounding behind
            for known in basis:
                rest -= (rest @ known) * known
        if rest.norm() <= 1e-9 * products[-1].norm():
            break
        vector = rest / rest.norm()
    columns = torch.stack(basis, dim=1)
    small = columns.T @ torch.stack(products, dim=1)
    return torch.linalg.eigvalsh((small + small.T) / 2)


def _gradient(searcher: Searcher, batches: int) -> Callable[[Tensor], Tensor]:
    """``∇_α`` of the mean loss of the first batches, as a function of all alphas in one vector."""
    losses = [
        BatchLoss(searcher.supernet, images, labels, seed_of(searcher.seed, "eigenvalue", number), searcher.place)
        for number, (images, labels) in enumerate(islice(searcher.searching.ordered(), batches))
    ]
    weights = {name: weight.detach() for name, weight in searcher.weights.items()}
    sizes = [alphas.numel() for alphas in searcher.alphas.values()]

    def gradient(point: Tensor) -> Tensor:
        leaf = point.detach().requires_grad_()
        parts = zip(searcher.alphas.items(), torch.split(leaf, sizes), strict=True)
        relaxed = {name: searcher.method.relaxation(part.view_as(alphas)) for (name, alphas), part in parts}
        total = torch.zeros_like(leaf)
        for loss in losses:
            mixture = expand(relaxed, searcher.groups)
            total += torch.autograd.grad(loss(mixture, weights, exact=True), leaf, retain_graph=True)[0]
        return total / len(losses)

    return gradient


@DIAGNOSTICS.add("eigenvalue")
def eigenvalue(searcher: Searcher) -> Mapping[str, float]:
    """The dominant eigenvalue of the Hessian of the search loss over the alphas."""
    return {"eigenvalue": dominant_eigenvalue(searcher)}
