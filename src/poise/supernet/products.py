"""The products that sums over pixels are made of, each by the kernel that does it best where it runs.

With its pixels as rows a feature ``[batch, K, height, width]`` is a tall matrix ``f [M, K]``: M in the ten thousands, K
in the tens. Three products are needed:

    mapped(f, W, b) = f W + b        inner(a, b) = aᵀ b        inner_diagonal(a, b) = diag(aᵀ b)

They are also a 1×1 convolution, its weight gradient, and a depthwise one's weight gradient. For such shapes a CPU's
convolutions take about half the time of its matrix products in float32, and add the constant on the way, so they are
used there, unless the work is too small to pay for the longer call. Elsewhere they are matrix products.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

CHUNK = 1024
"""Rows of a block in a sum over pixels: blocks are summed in parallel, which one long product is not."""

WORTH = 2**21
"""Multiplications from which on a convolution is the faster call."""


def rows(x: Tensor) -> Tensor:
    """Pixels as rows, ``[batch·height·width, channels]``; a view where ``x`` is channels last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def pixels(values: Tensor, like: Tensor) -> Tensor:
    """Rows back as ``[batch, channels, height, width]``, channels last."""
    batch, _, height, width = like.shape
    return values.view(batch, height, width, -1).permute(0, 3, 1, 2)


def mapped(feature: Tensor, matrix: Tensor, constant: Tensor | None = None) -> Tensor:
    """``f W + b`` as rows ``[M, C]``, for a matrix ``[K, C]`` and a constant ``[C]``."""
    if _as_convolution(feature, matrix.shape[1]):
        return rows(F.conv2d(feature, matrix.T[:, :, None, None], constant))
    f = rows(feature)
    return f @ matrix if constant is None else torch.addmm(constant, f, matrix)


def add_mapped(total: Tensor, feature: Tensor, matrix: Tensor) -> Tensor:
    """``total += f W``, in place."""
    if _as_convolution(feature, matrix.shape[1]):
        return total.add_(mapped(feature, matrix))
    return total.addmm_(rows(feature), matrix)


def column_sums(values: Tensor) -> Tensor:
    """``1ᵀf``, ``[C]``, of rows ``[M, C]``."""
    count, columns = values.shape
    together = 16 if columns <= 32 and count % 16 == 0 else 1  # short rows are added up several at a time
    return values.reshape(-1, together * columns).sum(dim=0).view(together, columns).sum(dim=0)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """``aᵀ b``, ``[K, C]``."""
    if _as_convolution(a, b.shape[1]):
        found: Tensor = conv2d_weight(a, (b.shape[1], a.shape[1], 1, 1), b)  # type: ignore[no-untyped-call]
        return found[:, :, 0, 0].T
    left, right = rows(a), rows(b)
    whole = len(left) // CHUNK * CHUNK
    if whole == 0:
        return left.T @ right
    blocks = torch.bmm(
        left[:whole].reshape(-1, CHUNK, left.shape[1]).transpose(1, 2), right[:whole].reshape(-1, CHUNK, right.shape[1])
    )
    total = blocks.sum(dim=0)
    return total if whole == len(left) else total + left[whole:].T @ right[whole:]


def inner_diagonal(a: Tensor, b: Tensor) -> Tensor:
    """``Σ_m a ⊙ b``, ``[C]``, for two features of C channels."""
    if _as_convolution(a, a.shape[1]):
        found: Tensor = conv2d_weight(a, (a.shape[1], 1, 1, 1), b, groups=a.shape[1])  # type: ignore[no-untyped-call]
        return found.flatten()
    return (rows(a) * rows(b)).sum(dim=0)


def _as_convolution(feature: Tensor, columns: int) -> bool:
    return (
        feature.device.type == "cpu"
        and feature.dtype == torch.float32
        and feature.numel() * columns >= WORTH
        and bool(torch.backends.mkldnn.enabled)
    )
