"""Hypergradients: how the search loss reaches the alphas.

Both return the gradient with respect to every layer's mixture; the chain from there to the alphas, through the
relaxation, is exact and the search loop's own.

Source: Liu et al., DARTS (arXiv:1806.09055), eqs. 6-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.errors import Refused
from poise.methods.slots import Descent, Loss, MixtureGradient, fills, never_trained
from poise.supernet.groups import ChoiceGroup, Mixture
from poise.supernet.layout import all_laid_out, gradients


def _leaves(mixture: Mixture) -> dict[str, Tensor]:
    return {group: values.detach().requires_grad_() for group, values in mixture.items()}


def _mixture_gradient(
    loss: Loss, mixture: Mixture, weights: Mapping[str, Tensor], full_precision: bool = False
) -> MixtureGradient:
    """The loss and its gradient with respect to the mixture alone: nothing is computed for the weights'."""
    leaves = _leaves(mixture)
    value = loss(leaves, {name: weight.detach() for name, weight in weights.items()}, full_precision=full_precision)
    # A module may skip a layer by chance, whose mixture then has no influence on this loss.
    return MixtureGradient(value.detach(), dict(zip(leaves, gradients(value, (), list(leaves.values())), strict=True)))


def _ahead(weights: Mapping[str, Tensor], upstream: Sequence[Tensor], descent: Descent) -> dict[str, Tensor]:
    """The weights after a step of this descent."""
    before = [weight.detach() for weight in weights.values()]
    moved = direction = all_laid_out(torch._foreach_add(list(upstream), before, alpha=descent.weight_decay), before)
    if descent.buffers:
        buffers = [descent.buffers[name] for name in weights]
        moved = all_laid_out(torch._foreach_add(direction, buffers, alpha=descent.momentum), before)
    if descent.nesterov:
        moved = all_laid_out(torch._foreach_add(direction, moved, alpha=descent.momentum), before)
    torch._foreach_mul_(moved, descent.learning_rate)
    after = all_laid_out(torch._foreach_sub(before, moved), before)
    return {name: weight.requires_grad_() for name, weight in zip(weights, after, strict=True)}


@fills("hypergradient")
@dataclass(frozen=True)
class FirstOrder:
    """``∇_p L_val(w, p)``: the weights are taken as they are."""

    kind: ClassVar[str] = "first-order"

    def __call__(
        self, search: Loss, training: Loss, mixture: Mixture, weights: Mapping[str, Tensor], descent: Descent
    ) -> MixtureGradient:
        return _mixture_gradient(search, mixture, weights)


@fills("hypergradient")
@dataclass(frozen=True)
class Unrolled:
    """Second order: the weights are taken one SGD step ahead, and the gradient goes through that step.

    ``w' = w − ξ(momentum·buf + ∇_w L_tr + wd·w)`` with ξ the current learning rate, then

        ``∇_p L_val(w', p) − ξ·[∇_p L_tr(w⁺, p) − ∇_p L_tr(w⁻, p)] / (2ε)``,
        ``w± = w ± ε·∇_{w'} L_val(w', p)``, ``ε = distance / ‖∇_{w'} L_val‖``.

    With Nesterov momentum the step is PyTorch's, and ξ becomes ``ξ(1 + momentum)``. Gradient clipping is not
    unrolled, as
    in the released code. No copy of the network is made: ``w'`` and ``w±`` are arguments of the loss.
    """

    distance: float = 0.01
    kind: ClassVar[str] = "unrolled"

    def __post_init__(self) -> None:
        if not self.distance > 0:
            raise Refused(f"the difference step of the unrolled gradient must be above 0, got {self.distance}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """It is a gradient for alphas, so these must be trained."""
        return never_trained(method, epochs, "the unrolled gradient is for")

    def __call__(
        self, search: Loss, training: Loss, mixture: Mixture, weights: Mapping[str, Tensor], descent: Descent
    ) -> MixtureGradient:
        clean = {group: values.detach() for group, values in mixture.items()}
        unrolled = _ahead(weights, gradients(training(clean), list(weights.values())), descent)
        leaves = _leaves(mixture)
        value = search(leaves, unrolled)
        found = gradients(value, list(unrolled.values()), list(leaves.values()))
        vector, direct = found[: len(unrolled)], found[len(unrolled) :]

        length = nn.utils.get_total_norm(vector)
        step = self.distance / length.clamp(min=torch.finfo(length.dtype).tiny)
        here = [weight.detach() for weight in weights.values()]
        offsets = all_laid_out(torch._foreach_mul(vector, step), here)
        plus, minus = (
            _mixture_gradient(
                training, clean, dict(zip(weights, side(here, offsets), strict=True)), full_precision=True
            ).layers
            for side in (torch._foreach_add, torch._foreach_sub)
        )
        rate = descent.learning_rate * (1 + descent.momentum if descent.nesterov else 1)
        scale = torch.where(length > 0, rate / (2 * step), torch.zeros_like(step))
        total = {
            group: gradient - scale * (plus[group] - minus[group])
            for group, gradient in zip(leaves, direct, strict=True)
        }
        return MixtureGradient(value.detach(), total)
