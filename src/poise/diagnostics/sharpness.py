"""The eigenvalues and eigenvectors of the Hessian of the search loss over the alphas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from poise.diagnostics.vector import SearchLoss
from poise.engine.streams import stream

WHOLE = 64
"""Up to so many alphas the matrix is found whole, with more, Lanczos' method."""
ITERATIONS = 32
"""Of Lanczos' method; half as many for a group."""

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of ``H = ∇²_α L_val``, from the largest down, on the CPU in float64.

    Args:
        values: ``[n]``: all of them where the matrix is ``whole``, else those of Lanczos' method: the outer ones are
            close, and none lies outside the true range.
        vectors: ``[alphas, n]``, columns of length 1.
        groups: group -> the largest eigenvalue of its block of ``H``: the other groups' alphas stand still.
        whole: whether the whole matrix was found.
    """

    values: Tensor
    vectors: Tensor
    groups: dict[str, float]
    whole: bool


def work(loss: SearchLoss, whole: int = WHOLE) -> int:
    """The work of `spectrum_of`, in evaluations of the loss of a batch."""
    size = len(loss.point)
    if size <= whole:
        return (3 + 6 * size) * len(loss)
    groups = loss.sizes.values() if len(loss.sizes) > 1 else ()
    return 9 * (min(ITERATIONS, size) + sum(min(ITERATIONS // 2, part) for part in groups)) * len(loss)


def spectrum_of(loss: SearchLoss, seed: int, whole: int = WHOLE) -> Spectrum:
    """The spectrum of the Hessian at the alphas as they are, by exact second derivatives.

    Args:
        loss: the search loss.
        seed: of the starts of Lanczos' method.
        whole: up to so many alphas the matrix is found whole.
    """
    size = len(loss.point)
    parts: dict[str, slice] = {}
    for name, length in loss.sizes.items():
        first = sum(part.stop - part.start for part in parts.values())
        parts[name] = slice(first, first + length)
    if size <= whole:
        matrix = loss.hessian(loss.point).cpu().double()
        values, vectors = torch.linalg.eigh(matrix)
        groups = {name: float(torch.linalg.eigvalsh(matrix[part, part])[-1]) for name, part in parts.items()}
        return Spectrum(values.flip(0), vectors.flip(1), groups, True)

    def times(vector: Tensor) -> Tensor:
        return loss.product(loss.point, vector.to(loss.point)).cpu().double()

    def start(length: int, *purpose: str) -> Tensor:
        return torch.randn(length, generator=stream(seed, "eigenvalue", *purpose), dtype=torch.float64)

    values, vectors = ritz(times, start(size), ITERATIONS)
    groups = {next(iter(parts)): float(values[-1])}
    if len(parts) > 1:
        for name, part in parts.items():
            found = tridiagonal(block(times, size, part), start(loss.sizes[name], name), ITERATIONS // 2)
            groups[name] = float(found[-1])
    return Spectrum(values.flip(0), vectors.flip(1), groups, False)


def block(times: Product, size: int, part: slice) -> Product:
    """Products with the block of a matrix that belongs to ``part`` of its ``size`` rows and columns."""

    def restricted(vector: Tensor) -> Tensor:
        whole = vector.new_zeros(size)
        whole[part] = vector
        return times(whole)[part]

    return restricted


def _krylov(times: Product, start: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """An orthonormal basis ``[size, n]`` of ``start`` and its first products, and the matrix in it, ``[n, n]``."""
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
    return columns, (small + small.T) / 2


def tridiagonal(times: Product, start: Tensor, iterations: int) -> Tensor:
    """The eigenvalues of a symmetric matrix in the space of ``start`` and its first products, ascending.

    Lanczos' method, orthogonalised in full. ``times``: vector of length 1 -> matrix times vector, both float64.
    """
    return torch.linalg.eigvalsh(_krylov(times, start, iterations)[1])


def ritz(times: Product, start: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """As `tridiagonal`, with the vectors ``[size, n]`` that belong to the eigenvalues."""
    basis, small = _krylov(times, start, iterations)
    values, vectors = torch.linalg.eigh(small)
    return values, basis @ vectors
