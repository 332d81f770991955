"""Alignment: the weight gradient, corrected so that layers agree on which candidates they want (Λ-DARTS).

Source: Movahedi et al., Λ-DARTS (arXiv:2210.07998), eqs. 6-9 and algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poise.errors import Refused
from poise.methods.slots import Loss, Progress, WeightGradient, fills
from poise.supernet.groups import ChoiceGroup, Mixture
from poise.supernet.layout import all_laid_out, gradients

Form = Literal["corr", "signcorr"]


def correlation(gradients: Tensor, form: Form = "corr") -> Tensor:
    """``Λ = 2/(n(n−1)) · Σ_{i<j} c(g_i, g_j)``, the mean agreement of the layers' gradients, in [−1, 1].

    Args:
        gradients: ``[layers, ...]``, one gradient per layer; flattened to ``g_l``.
        form: ``corr``: ``c = g_iᵀg_j / (‖g_i‖‖g_j‖)``; ``signcorr``: ``c = g_iᵀg_j / (|g_i|ᵀ|g_j|)``.

    A layer whose gradient is zero agrees with none: its ``c`` is 0, and so is its ``∂Λ/∂g``.
    """
    flat = gradients.flatten(1)
    # c does not depend on the scale.
    largest = flat.abs().amax(dim=1, keepdim=True).detach()
    alive = largest > 0
    flat = torch.where(alive, flat / largest.where(alive, torch.ones_like(largest)), 0)
    if form == "corr":
        length = flat.square().sum(dim=1, keepdim=True)
        flat = flat * length.where(alive, torch.ones_like(length)).rsqrt()
        agreement = flat @ flat.T
    else:
        bound = flat.abs() @ flat.abs().T
        agreement = flat @ flat.T / bound.where(bound > 0, torch.ones_like(bound))
    layers = flat.shape[0]
    return torch.triu(agreement, diagonal=1).sum() * 2 / (layers * (layers - 1))


def aligned_groups(groups: Sequence[ChoiceGroup]) -> list[str]:
    """The groups whose layers play the same part, at least two of them."""
    return [group.name for group in groups if group.aligned and group.layers >= 2]


def mean_alignment(layers: Mapping[str, Tensor], groups: Sequence[ChoiceGroup]) -> Tensor | None:
    """Λ-DARTS's diagnostic: the mean cosine of the layers' gradients, averaged over aligned groups; None if unknown."""
    values = [correlation(layers[name].detach()) for name in aligned_groups(groups) if name in layers]
    return torch.stack(values).mean() if values else None


def weight_and_layer_gradients(
    loss: Loss, mixture: Mixture, weights: Mapping[str, Tensor], groups: Sequence[ChoiceGroup]
) -> WeightGradient:
    """The pass that counts: ``∇_w L_tr``, and ``∂L_tr/∂p_l`` for the layers of aligned groups, in one backward."""
    names = aligned_groups(groups)
    leaves = {name: values.detach() for name, values in mixture.items()}
    for name in names:
        leaves[name].requires_grad_()
    value = loss(leaves, track=True)
    found = gradients(value, list(weights.values()), [leaves[name] for name in names])
    layers = dict(zip(names, found[len(weights) :], strict=True))
    return WeightGradient(value.detach(), dict(zip(weights, found, strict=False)), layers)


@fills("alignment")
@dataclass(frozen=True)
class NoAlignment:
    """The plain gradient ``∇_w L_tr``. The layers' gradients come with it, so that their agreement can be watched."""

    kind: ClassVar[str] = "none"

    def __call__(
        self,
        loss: Loss,
        mixture: Mixture,
        weights: Mapping[str, Tensor],
        groups: Sequence[ChoiceGroup],
        progress: Progress,
    ) -> WeightGradient:
        return weight_and_layer_gradients(loss, mixture, weights, groups)


@fills("alignment")
@dataclass(frozen=True)
class LayerAlignment:
    """Λ-DARTS: ``∇_w L_tr − λ_t ∇_w Λ`` with ``λ_t = strength·min(t/(ramp·(T−1)), 1)``; Λ, the layers' agreement, is
    pushed up.

    While a selection tunes the supernet, after the last epoch, ``λ_t`` stays at ``strength``.

    ``g_l = ∂L_tr/∂p_l`` is taken for every layer of an aligned group (in the DARTS space the normal cells, as in the
    released code). With ``u_l = ∂Λ/∂g_l``, by autograd, and ``ε = distance/‖(u_l)_l‖``,

        ``∇_w Λ = Σ_l (∂²L_tr/∂w∂p_l) u_l ≈ [∇_w L_tr(w, p + εu) − ∇_w L_tr(w, p − εu)] / (2ε)``

    on the same batch, without touching the running statistics. Several aligned groups: the mean of their Λ.

    Args:
        strength: λ; published 0.125 on the DARTS space, 0.25 on NAS-Bench-201 and S1-S4.
        form: ``corr`` or ``signcorr``, see `correlation`.
        distance: ``ε_0``; published 1e-4 to 1e-3.
        ramp: the share of the search over which ``λ_t`` grows; published 1: all of it. 0: it is ``strength`` at once.
        required: refuse a space in which no layers share alphas. False: there the plain gradient stays.
    """

    strength: float = 0.125
    form: Form = "corr"
    distance: float = 1e-3
    ramp: float = 1.0
    required: bool = True
    kind: ClassVar[str] = "layer"

    def __post_init__(self) -> None:
        if self.form not in ("corr", "signcorr"):
            raise Refused(f"the form of an alignment is corr or signcorr, got {self.form!r}")
        if not (self.strength >= 0 and self.distance > 0):
            raise Refused(f"alignment needs strength >= 0 and distance > 0, got {self.strength} and {self.distance}")
        if not 0 <= self.ramp <= 1:
            raise Refused(f"the ramp of an alignment is a share of the search, from 0 to 1, got {self.ramp}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """It needs at least two layers that share alphas."""
        if aligned_groups(groups) or not self.required:
            return None
        shapes = ", ".join(f"{group.name!r} has {group.layers}" for group in groups)
        return (
            f"layer alignment needs a group with at least 2 layers that play the same part ({shapes}); "
            "use more cells, or alignment=none in a space of one cell"
        )

    def __call__(
        self,
        loss: Loss,
        mixture: Mixture,
        weights: Mapping[str, Tensor],
        groups: Sequence[ChoiceGroup],
        progress: Progress,
    ) -> WeightGradient:
        grows = self.ramp * max(progress.epochs - 1, 1)
        strength = self.strength * (min(progress.epoch / grows, 1.0) if grows else 1.0)
        found = weight_and_layer_gradients(loss, mixture, weights, groups)
        if strength == 0 or not aligned_groups(groups):
            return found
        corrected = self._corrected(found, loss, mixture, weights, strength)
        return WeightGradient(found.loss, corrected, found.layers)

    def _corrected(
        self, found: WeightGradient, loss: Loss, mixture: Mixture, weights: Mapping[str, Tensor], strength: float
    ) -> dict[str, Tensor]:
        """The gradients of the weights, less ``strength·∇_w Λ``."""
        leaves = {name: values.detach().requires_grad_() for name, values in found.layers.items()}
        agreement = torch.stack([correlation(values, self.form) for values in leaves.values()]).mean()
        directions = dict(zip(leaves, torch.autograd.grad(agreement, list(leaves.values())), strict=True))
        length = torch.stack([direction.norm() for direction in directions.values()]).norm()
        step = self.distance / length.clamp(min=torch.finfo(length.dtype).tiny)

        def weight_gradient(sign: int) -> list[Tensor]:
            moved = {name: values.detach() for name, values in mixture.items()}
            for name, direction in directions.items():
                moved[name] = moved[name] + sign * step * direction
            return gradients(loss(moved, full_precision=True), list(weights.values()))

        scale = torch.where(length > 0, strength / (2 * step), torch.zeros_like(step))
        plain = list(found.weights.values())
        difference = all_laid_out(torch._foreach_sub(weight_gradient(1), weight_gradient(-1)), plain)
        torch._foreach_mul_(difference, scale)
        corrected = torch._foreach_sub(plain, difference)
        return dict(zip(weights, corrected, strict=True))
