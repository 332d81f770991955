"""``out = Σ_k p_k · N_k(f_k W_k)``: many mixed candidates as one sum, without writing down any candidate's output.

Every candidate of a cell ends in a linear map ``W`` over the channels of a feature ``f`` (a pointwise convolution, or
none), a batch normalisation ``N`` without affine parameters (or none) and its weight ``p`` in the mixture. With pixels
as rows, ``f: [M, K]``, ``W: [K, C]``, the statistics of ``y = f W`` follow from those of ``f``, which are small,

    s = 1ᵀf / M,   G = fᵀf / M,   μ = s W,   v = diag(Wᵀ G W) − μ²,   i = 1/√(v + eps),

so that ``p · N(f W) = f · (W · diag(p i)) − p μ i``: one matrix product per candidate, accumulated into ``out``.
Neither ``y`` nor ``N(y)`` is ever formed. Backward, with ``Ḡ`` the gradient of ``out``, ``g = 1ᵀḠ``, ``S = fᵀḠ``:

    h  = i · (diag(Wᵀ S) − μ g)                                   (Σ_m Ḡ ⊙ N(y), per channel)
    ∂p = Σ_c h
    ∂W = (S − s gᵀ − (G W − s μᵀ) · diag(i h)) · diag(p i)
    ∂f = Ḡ · (W diag(p i))ᵀ − f · (W diag(p i² h/M) Wᵀ) + (p i² μ h − p i g)/M · Wᵀ

which is the textbook's gradient, regrouped. With running statistics (evaluation mode) ``μ`` and ``i`` are constants and
the terms in ``h`` and ``g`` fall away from ``∂W`` and ``∂f``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 1024
"""Rows of a block in a sum over pixels: blocks are summed in parallel, which one long product is not."""


@dataclass(frozen=True)
class Term:
    """One candidate: its feature ``[batch, K, height, width]``, its ``weight [C, K, 1, 1]`` (None: ``K = C``, no map),
    its normalisation (None: none), and the feature's moments where they were computed before."""

    feature: Tensor
    weight: Tensor | None = None
    norm: nn.BatchNorm2d | None = None
    moments: tuple[Tensor, Tensor] | None = None


def rows(x: Tensor) -> Tensor:
    """Pixels as rows, ``[batch·height·width, channels]``; a view where ``x`` is channels last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``aᵀ b`` for ``a [M, K]``, ``b [M, C]`` with M large."""
    whole = len(a) // CHUNK * CHUNK
    if whole == 0:
        return a.T @ b
    blocks = torch.bmm(a[:whole].view(-1, CHUNK, a.shape[1]).transpose(1, 2), b[:whole].view(-1, CHUNK, b.shape[1]))
    total = blocks.sum(dim=0)
    return total if whole == len(a) else total + a[whole:].T @ b[whole:]


def exact(x: Tensor) -> Tensor:
    """At least float32: sums over pixels need it, whatever precision the convolutions run in."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


@torch.no_grad()
def moments(feature: Tensor) -> tuple[Tensor, Tensor]:
    """``s = 1ᵀf / M`` and ``G = fᵀf / M`` of a feature's pixels."""
    with torch.autocast(feature.device.type, enabled=False):
        f = rows(exact(feature))
        return f.mean(dim=0), _product(f, f) / len(f)


def normed_sum(terms: Sequence[Term], mixture: Tensor | None = None, rectify: bool = False) -> Tensor:
    """``Σ_k p_k · N_k(f_k W_k)``; running statistics are updated where a normalisation is in training mode.

    Args:
        terms: all of one batch and one output shape.
        mixture: ``[terms]``; None: all 1.
        rectify: whether a ReLU of the sum is wanted instead.

    Returns:
        ``[batch, C, height, width]``, channels last.
    """
    first = terms[0]
    inputs: list[Tensor | None] = []
    modes = []
    for term in terms:
        statistics: tuple[Tensor | None, Tensor | None] = (None, None)
        training = term.norm is not None and term.norm.training
        if training:
            statistics = term.moments or moments(term.feature)
        elif term.norm is not None:
            statistics = (term.norm.running_mean, term.norm.running_var)
        modes.append((term.norm is not None, training, 0.0 if term.norm is None else term.norm.eps))
        inputs += [exact(term.feature), None if term.weight is None else term.weight[:, :, 0, 0], *statistics]
    if mixture is None:
        mixture = exact(first.feature).new_ones(len(terms))
    with torch.autocast(mixture.device.type, enabled=False):
        out, *found = _NormedSum.apply(tuple(modes), mixture, *inputs)  # type: ignore[no-untyped-call]
    _track([term.norm for term in terms if term.norm is not None and term.norm.training], found, len(out))
    values: Tensor = torch.relu_(out) if rectify else out
    batch, _, height, width = first.feature.shape
    return values.view(batch, height, width, -1).permute(0, 3, 1, 2)


@torch.no_grad()
def _track(norms: Sequence[nn.BatchNorm2d], found: Sequence[Tensor], pixels: int) -> None:
    """Move running statistics towards the batch's mean and unbiased variance, all in a few calls."""
    if not norms:
        return
    means, variances = list(found[0::2]), list(found[1::2])
    torch._foreach_mul_(variances, pixels / max(pixels - 1, 1))
    buffers = [dict(norm.named_buffers()) for norm in norms]
    running = [*(b["running_mean"] for b in buffers), *(b["running_var"] for b in buffers)]
    torch._foreach_lerp_(running, [*means, *variances], norms[0].momentum or 0.1)
    torch._foreach_add_([b["num_batches_tracked"] for b in buffers], 1)


class _NormedSum(torch.autograd.Function):
    """See the header. Inputs per term: feature, weight ``[C, K]``, and ``s, G`` or the running mean and variance.

    Returns ``out [M, C]``, then mean and biased variance of every term that is normalised by the batch's statistics.
    """

    @staticmethod
    def forward(ctx: Any, modes: tuple[tuple[bool, bool, float], ...], mixture: Tensor, *inputs: Tensor | None) -> Any:
        first = inputs[0]
        assert first is not None
        saved: list[Tensor | None] = [mixture]
        products: list[tuple[Tensor, Tensor]] = []
        bias: Tensor | None = None
        found: list[Tensor] = []
        for index, (normed, training, eps) in enumerate(modes):
            feature, weight, s, g = inputs[4 * index : 4 * index + 4]
            assert feature is not None
            mean = inverse = None
            scale = mixture[index]
            if normed:
                assert s is not None
                assert g is not None
                if training:
                    mean, variance = _statistics(s, g, weight)
                    found += [mean, variance]
                else:
                    mean, variance = s, g
                inverse = torch.rsqrt(variance + eps)
                scale = scale * inverse
                shift = scale * mean
                bias = -shift if bias is None else bias - shift
            # The map as a [K, C] matrix, or the factor of every channel.
            products.append((feature, scale if weight is None else weight.T * scale))
            saved += [feature, weight, s, g, mean, inverse]
        channels = next((p.shape[1] for _, p in products if p.dim() == 2), first.shape[1])
        out = _accumulate([(rows(feature), factor) for feature, factor in products], bias, channels)
        ctx.save_for_backward(*saved)
        ctx.modes = modes
        ctx.mark_non_differentiable(*found)
        return (out, *found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> Any:
        mixture, *saved = ctx.saved_tensors
        upstream = gradient.contiguous()
        pixels = len(upstream)
        total = upstream.sum(dim=0)
        weights = []
        results: list[Tensor | None] = []
        for index, (normed, training, _eps) in enumerate(ctx.modes):
            feature, weight, s, g, mean, inverse = saved[6 * index : 6 * index + 6]
            needs_feature, needs_weight = ctx.needs_input_grad[2 + 4 * index], ctx.needs_input_grad[3 + 4 * index]
            f, p = rows(feature), mixture[index]
            if not normed:
                if weight is None:
                    weights.append(torch.dot(f.reshape(-1), upstream.reshape(-1)))
                    gradient_f, gradient_w = upstream * p if needs_feature else None, None
                else:
                    product = _product(f, upstream)
                    weights.append((weight.T * product).sum())
                    gradient_f = upstream @ (weight * p) if needs_feature else None
                    gradient_w = (product * p).T
                results += [None if gradient_f is None else _pixels(gradient_f, feature), gradient_w, None, None]
                continue
            w = None if weight is None else weight.T
            product = _product(f, upstream)
            aligned = product.diagonal() if w is None else (w * product).sum(dim=0)
            h = inverse * (aligned - mean * total)
            weights.append(h.sum())
            scale = p * inverse
            gradient_f = gradient_w = None
            if needs_weight:
                change = product
                if training:
                    change = product - torch.outer(s, total) - (g @ w - torch.outer(s, mean)) * (inverse * h)
                gradient_w = (change * scale).T
            if needs_feature:
                bend = scale * inverse * h / pixels
                constant = bend * mean - scale * total / pixels
                if w is None:
                    moved = upstream * scale if not training else torch.addcmul(constant, upstream, scale)
                    gradient_f = moved if not training else moved.addcmul_(f, -bend)
                elif training:
                    gradient_f = torch.addmm(constant @ w.T, upstream, (w * scale).T)
                    gradient_f.addmm_(f, (w * bend) @ w.T, alpha=-1)
                else:
                    gradient_f = upstream @ (w * scale).T
                gradient_f = _pixels(gradient_f, feature)
            results += [gradient_f, gradient_w, None, None]
        return (None, torch.stack(weights), *results)


def _statistics(s: Tensor, g: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of ``f W`` from the moments of ``f``."""
    if weight is None:
        return s.clone(), (g.diagonal() - s.square()).clamp(min=0)
    mean = weight @ s
    return mean, ((weight @ g) * weight).sum(dim=1).sub_(mean.square()).clamp_(min=0)


def _accumulate(products: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None, channels: int) -> Tensor:
    """``Σ f · factor + bias``, ``[M, channels]``; a factor is a matrix, or one number per channel."""
    out: Tensor | None = None
    for f, factor in sorted(products, key=lambda product: product[1].dim(), reverse=True):
        if factor.dim() == 2:
            if out is None:
                out = f @ factor if bias is None else torch.addmm(bias, f, factor)
            else:
                out.addmm_(f, factor)
        elif out is None:
            out = f * factor if bias is None else torch.addcmul(bias.expand(channels), f, factor)
        else:
            out.addcmul_(f, factor)
    assert out is not None
    return out


def _pixels(values: Tensor, like: Tensor) -> Tensor:
    """Rows back as ``[batch, channels, height, width]``, channels last."""
    batch, _, height, width = like.shape
    return values.view(batch, height, width, -1).permute(0, 3, 1, 2)
