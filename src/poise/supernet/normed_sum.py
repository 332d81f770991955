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
the terms in ``h`` and ``g`` fall away from ``∂W`` and ``∂f``. Where second derivatives are wanted, the sum is computed
by the textbook (`plain_sum`) for the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress, groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.supernet.double_backward import differentiable_gradient
from poise.supernet.global_norm import normalised, processes_of, unbiasing
from poise.supernet.processes import ALONE, Processes
from poise.supernet.products import add_mapped, column_sums, inner, inner_diagonal, mapped, pixels, rows


@dataclass(frozen=True)
class Term:
    """One candidate: its feature ``[batch, K, height, width]``, its ``weight [C, K, 1, 1]`` (None: ``K = C``, no map),
    its normalisation (None: none), and the feature's moments where they were computed before."""

    feature: Tensor
    weight: Tensor | None = None
    norm: nn.BatchNorm2d | None = None
    moments: tuple[Tensor, Tensor] | None = None


class Stack(NamedTuple):
    """Terms of one kind, whose small matrices are handled together: how many there are, and what they have in common:
    ``width`` is K, ``mapped`` whether they have a ``W``, ``trains`` whether statistics are the batch's.
    """

    terms: int
    width: int
    mapped: bool
    normed: bool
    trains: bool
    eps: float


def exact(x: Tensor) -> Tensor:
    """At least float32, channels last: sums over pixels need it, whatever precision the convolutions run in."""
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    return wide.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def moments(feature: Tensor, mapped: bool) -> tuple[Tensor, Tensor]:
    """``s = 1ᵀf / M`` and ``G = fᵀf / M`` of a feature's pixels; of G the diagonal alone for a term without a map."""
    with torch.autocast(feature.device.type, enabled=False):
        f = exact(feature)
        count = max(f.numel() // f.shape[1], 1)
        return column_sums(rows(f)) / count, (inner(f, f) if mapped else inner_diagonal(f, f)) / count


class Whole(NamedTuple):
    """The rows that statistics are of: those of all ``processes``, so many."""

    processes: Processes
    size: int | Tensor


def normed_sum(terms: Sequence[Term], mixture: Tensor | None = None, rectify: bool = False) -> Tensor:
    """``Σ_k p_k · N_k(f_k W_k)``; running statistics are updated where a normalisation is in training mode.

    Args:
        terms: all of one batch and one output shape.
        mixture: ``[terms]``; None: all 1.
        rectify: whether a ReLU of the sum is wanted instead.

    Returns:
        ``[batch, C, height, width]``, channels last.
    """
    order = sorted(range(len(terms)), key=lambda index: _kind(terms[index]), reverse=True)
    stacks = []
    inputs: list[Tensor | None] = []
    norms: list[nn.BatchNorm2d] = []
    trained: list[int] = []  # where among the inputs the batch's statistics are
    for kind, members in groupby(order, key=lambda index: _kind(terms[index])):
        found = [terms[index] for index in members]
        stack = Stack(len(found), *kind)
        stacks.append(stack)
        weight = (
            torch.stack([_matrix(term.weight) for term in found if term.weight is not None]) if stack.mapped else None
        )
        statistics: Sequence[Tensor | None] = (None, None)
        if stack.trains:
            pairs = [term.moments or moments(term.feature, stack.mapped) for term in found]
            statistics = [torch.stack(part) for part in zip(*pairs, strict=True)]
            norms += [term.norm for term in found if term.norm is not None]
            trained += [len(inputs) + len(found) + 1, len(inputs) + len(found) + 2]
        elif stack.normed:
            statistics = [torch.stack(part) for part in _running([t.norm for t in found if t.norm is not None])]
        inputs += [*(exact(term.feature) for term in found), weight, *statistics]
    whole = _gather_statistics(inputs, trained, terms[0].feature, processes_of(norms[0]) if norms else ALONE)
    if mixture is None:
        mixture = torch.ones(len(terms), dtype=exact(terms[0].feature).dtype, device=terms[0].feature.device)
    elif order != list(range(len(terms))):
        parts = mixture.unbind()
        mixture = torch.stack([parts[place] for place in order])
    with torch.autocast(mixture.device.type, enabled=False):
        out, *found_statistics = _NormedSum.apply(tuple(stacks), rectify, whole, mixture, *inputs)  # type: ignore[no-untyped-call]
    _track(norms, found_statistics, whole.size)
    return pixels(out, terms[0].feature)


def _gather_statistics(
    inputs: list[Tensor | None], places: Sequence[int], feature: Tensor, processes: Processes
) -> Whole:
    """Put the moments of all processes' rows in the places of this one's, in one message."""
    count = feature.numel() // feature.shape[1]
    if processes.alone:
        return Whole(processes, count)
    own = [value * count for place in places if (value := inputs[place]) is not None]
    *sums, total = processes.summed([*own, own[0].new_full((), count)])
    for place, value in zip(places, sums, strict=True):
        inputs[place] = value / total
    return Whole(processes, total)


def _kind(term: Term) -> tuple[int, bool, bool, bool, float]:
    """What the terms of a `Stack` have in common."""
    normed = term.norm is not None
    training = term.norm is not None and term.norm.training
    return term.feature.shape[1], term.weight is not None, normed, training, 0.0 if term.norm is None else term.norm.eps


def _matrix(weight: Tensor) -> Tensor:
    return weight[:, :, 0, 0].T


@torch.no_grad()
def _track(norms: Sequence[nn.BatchNorm2d], found: Sequence[Tensor], count: int | Tensor) -> None:
    """Move running statistics that are tracked towards the batch's mean and unbiased variance, all in a few calls."""
    tracking = [norm.track_running_stats for norm in norms]
    if not any(tracking):
        return
    means = list(compress((mean for stack in found[0::2] for mean in stack), tracking))
    unbiased = (variance for stack in found[1::2] for variance in stack * unbiasing(count))
    variances = list(compress(unbiased, tracking))
    norms = list(compress(norms, tracking))
    running_means, running_variances = _running(norms)
    torch._foreach_lerp_([*running_means, *running_variances], [*means, *variances], norms[0].momentum or 0.1)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None], 1)


def _running(norms: Sequence[nn.BatchNorm2d]) -> tuple[list[Tensor], list[Tensor]]:
    """Running means, running variances."""
    means = [norm.running_mean for norm in norms if norm.running_mean is not None]
    return means, [norm.running_var for norm in norms if norm.running_var is not None]


class _NormedSum(torch.autograd.Function):
    """See the header; ``out`` is rectified if wanted.

    Inputs per stack of n terms: n features, the weights ``[n, K, C]``, and either ``s [n, K]`` and ``G [n, K, K]``
    (without a map: its diagonal, ``[n, K]``) or the running means and variances ``[n, C]``. Returns ``out [M, C]``,
    then means and biased variances ``[n, C]`` of every stack that is normalised by the batch's statistics.
    """

    @staticmethod
    def forward(
        ctx: Any, stacks: tuple[Stack, ...], rectify: bool, whole: Whole, mixture: Tensor, *inputs: Tensor | None
    ) -> Any:
        saved: list[Tensor | None] = [mixture]
        products: list[tuple[Tensor, Tensor]] = []
        bias: Tensor | None = None
        found: list[Tensor] = []
        for stack, weights, features, (weight, s, g) in _unpack(stacks, mixture, inputs, others=3):
            mean = inverse = None
            scale = weights[:, None]
            if stack.normed:
                assert s is not None
                assert g is not None
                if stack.trains:
                    mean, variance = _statistics(s, g, weight)
                    found += [mean, variance]
                else:
                    mean, variance = s, g
                inverse = torch.rsqrt(variance + stack.eps)
                scale = scale * inverse
                shift = (scale * mean).sum(dim=0)
                bias = -shift if bias is None else bias - shift
            # The maps as [K, C] matrices, or the factors of every channel.
            products += zip(features, scale if weight is None else weight * scale[:, None, :], strict=True)
            saved += [*features, weight, s, g, mean, inverse]
        out = _accumulate(products, bias)
        if rectify:
            out.relu_()
        ctx.save_for_backward(out if rectify else None, *saved)
        ctx.stacks, ctx.whole = stacks, whole
        ctx.mark_non_differentiable(*found)
        return (out, *found)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> Any:
        out, mixture, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():  # it will be differentiated again
            inputs = [mixture]
            for _stack, _weights, features, others in _unpack(ctx.stacks, mixture, saved, others=5):
                inputs += [*features, *others[:3]]
            needed = ctx.needs_input_grad[3:]
            plain = partial(plain_sum, ctx.stacks, out is not None, ctx.whole)
            return (None, None, None, *differentiable_gradient(plain, inputs, needed, gradient))
        needed = iter(ctx.needs_input_grad[4:])
        gradient = (
            gradient.contiguous() if out is None else torch.ops.aten.threshold_backward(gradient.contiguous(), out, 0)
        )
        upstream = pixels(gradient, saved[0])
        total = column_sums(gradient)
        products: list[Tensor | None] = []
        aligned: list[Tensor] = []  # h of a stack that is normalised
        for stack, _, features, (weight, _, _, mean, inverse) in _unpack(ctx.stacks, mixture, saved, others=5):
            if weight is None:
                products.append(None)
                aligned.append(torch.stack([inner_diagonal(f, upstream) for f in features]))
            else:
                products.append(torch.stack([inner(f, upstream) for f in features]))
                aligned.append((weight * products[-1]).sum(dim=1))
            if stack.normed:
                aligned[-1] = inverse * (aligned[-1] - mean * total)
        # What features get by way of the statistics comes from the rows of all processes.
        count, (whole_total, *whole_aligned) = ctx.whole.size, ctx.whole.processes.summed([total, *aligned])
        mixture_gradients = [values.sum(dim=1) for values in aligned]
        results: list[Tensor | None] = []
        parts = zip(_unpack(ctx.stacks, mixture, saved, others=5), products, aligned, whole_aligned, strict=True)
        for (stack, weights, features, (weight, s, g, mean, inverse)), product, h, whole_h in parts:
            needs_features, needs_weight = [next(needed) for _ in features], next(needed)
            next(needed), next(needed)  # statistics: their part is in the features' gradients
            scale = weights[:, None]
            bend = constant = None
            if stack.normed:
                scale = scale * inverse
                if stack.trains:
                    bend = scale * inverse * whole_h / count
                    constant = bend * mean - scale * whole_total / count
            gradient_w = None
            if weight is not None and needs_weight:
                if stack.normed and stack.trains:
                    centred = torch.baddbmm(s[:, :, None] * mean[:, None, :], g, weight, beta=-1)
                    product = product - s[:, :, None] * total - centred * (inverse * h)[:, None, :]
                gradient_w = product * scale[:, None, :]
            results += _feature_gradients(features, needs_features, upstream, weight, scale, bend, constant)
            results += [gradient_w, None, None]
        return (None, None, None, torch.cat(mixture_gradients), *results)


def plain_sum(stacks: Sequence[Stack], rectify: bool, whole: Whole, inputs: Sequence[Tensor | None]) -> Tensor:
    """What `_NormedSum` computes of ``mixture, *inputs``, term by term, by operations that can be differentiated often.

    Statistics of the batch come from the features: ``s`` and ``G`` are not read.
    """
    mixture, *values = inputs
    assert mixture is not None
    parts: list[Tensor] = []
    for stack, weights, features, (weight, s, g) in _unpack(stacks, mixture, values, others=3):
        for index, f in enumerate(features):
            y = rows(f) if weight is None else rows(f) @ weight[index]
            if stack.normed and stack.trains and not whole.processes.alone:
                y = normalised(y, stack.eps, whole.processes).values
            elif stack.normed and stack.trains:
                y = (y - y.mean(dim=0)) * torch.rsqrt(y.var(dim=0, correction=0) + stack.eps)
            elif stack.normed:
                y = (y - s[index]) * torch.rsqrt(g[index] + stack.eps)
            parts.append(weights[index] * y)
    total = sum(parts[1:], start=parts[0])
    return F.relu(total) if rectify else total


def _unpack(stacks: Sequence[Stack], mixture: Tensor, values: Sequence[Any], others: int) -> Any:
    """Per stack: itself, its part of the mixture, its features, and its ``others`` values."""
    place = term = 0
    for stack in stacks:
        end = place + stack.terms
        yield stack, mixture[term : term + stack.terms], values[place:end], values[end : end + others]
        place, term = end + others, term + stack.terms


def _statistics(s: Tensor, g: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Means and biased variances ``[n, C]`` of ``f W`` from the moments of ``f``."""
    if weight is None:
        return s.clone(), (g - s.square()).clamp_(min=0)
    mean = torch.bmm(s[:, None, :], weight)[:, 0]
    return mean, (torch.bmm(g, weight) * weight).sum(dim=1).sub_(mean.square()).clamp_(min=0)


def _accumulate(products: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None) -> Tensor:
    """``Σ f · factor + bias``, ``[M, C]``; a factor is a matrix, or one number per channel."""
    out: Tensor | None = None
    for f, factor in sorted(products, key=lambda product: product[1].dim(), reverse=True):
        if factor.dim() == 2:
            out = mapped(f, factor, bias) if out is None else add_mapped(out, f, factor)
        elif out is None:
            out = rows(f) * factor if bias is None else torch.addcmul(bias, rows(f), factor)
        else:
            out.addcmul_(rows(f), factor)
    assert out is not None
    return out


def _feature_gradients(
    features: Sequence[Tensor],
    needed: Sequence[bool],
    upstream: Tensor,
    weight: Tensor | None,
    scale: Tensor,
    bend: Tensor | None,
    constant: Tensor | None,
) -> list[Tensor | None]:
    """``Ḡ · (W diag(p i))ᵀ − f · (W diag(bend) Wᵀ) + constant · Wᵀ``; without the last two where they are None."""
    if weight is None:
        factors, slopes, constants = scale.expand(len(features), upstream.shape[1]), bend, constant
    else:
        factors = (weight * scale[:, None, :]).transpose(1, 2)
        slopes = None if bend is None else torch.bmm(weight * bend[:, None, :], weight.transpose(1, 2)).neg_()
        constants = None if constant is None else torch.bmm(weight, constant[:, :, None])[:, :, 0]
    found: list[Tensor | None] = []
    for index, (f, needs) in enumerate(zip(features, needed, strict=True)):
        if not needs:
            found.append(None)
            continue
        offset = None if constants is None else constants[index]
        if weight is None:
            g = rows(upstream)
            values = g * factors[index] if offset is None else torch.addcmul(offset, g, factors[index])
            if slopes is not None:
                values.addcmul_(rows(f), slopes[index], value=-1)
        else:
            values = mapped(upstream, factors[index], offset)
            if slopes is not None:
                add_mapped(values, f, slopes[index])
        found.append(pixels(values, f))
    return found
