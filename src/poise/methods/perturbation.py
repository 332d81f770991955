"""Perturbations of the mixture in the weight step: SDARTS's random and adversarial smoothing.

All draw one ``δ [rows, candidates]`` per group, shared by its layers, as the layers share their alphas. The radius
grows linearly with the epochs, ``ε_t = ε_0 + (ε_1 − ε_0)·min(t/(ramp·T), 1)``; published: ``ramp`` 1.

Source: Chen and Hsieh, SmoothDARTS (arXiv:2002.05283), eqs. 4-6 and algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.errors import Refused
from poise.methods.slots import Loss, Progress, Relaxation, fills
from poise.supernet.draws import Chance
from poise.supernet.groups import Mixture

ROUNDING = 1e-5
"""Moves below this share of a step are rounding."""


@fills("perturbation")
@dataclass(frozen=True)
class NoPerturbation:
    """The weight step sees the mixture as it is."""

    kind: ClassVar[str] = "none"

    def __call__(
        self, mixture: Mixture, loss: Loss, relaxation: Relaxation, progress: Progress, draws: Chance
    ) -> Mixture:
        return mixture


@dataclass(frozen=True)
class _Radius:
    """A radius that grows from ``initial`` to ``final``, in units of mixture weight, over ``ramp`` of the search."""

    initial: float = 0.03
    final: float = 0.3
    ramp: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.initial <= self.final <= 1:
            raise Refused(f"a radius needs 0 <= initial <= final <= 1, got {self.initial} and {self.final}")
        if not 0 < self.ramp <= 1:
            raise Refused(f"the ramp of a radius is a share of the search, above 0 and up to 1, got {self.ramp}")

    def radius(self, progress: Progress) -> float:
        """``ε_t``."""
        return self.initial + (self.final - self.initial) * min(progress.epoch / (self.ramp * progress.epochs), 1.0)


def _uniform(mixture: Mixture, radius: float, draws: Chance) -> dict[str, Tensor]:
    """``δ ~ U(−radius, radius)``, ``[1, rows, candidates]`` per group."""
    return {
        group: radius * (2 * draws.uniform((1, *values.shape[1:]), values.dtype) - 1)
        for group, values in mixture.items()
    }


@fills("perturbation")
@dataclass(frozen=True)
class RandomSmoothing(_Radius):
    """SDARTS-RS: ``p + δ``, ``δ ~ U(−ε, ε)``, brought back into the set of mixtures (`Relaxation.renormalise`)."""

    kind: ClassVar[str] = "random"

    def __call__(
        self, mixture: Mixture, loss: Loss, relaxation: Relaxation, progress: Progress, draws: Chance
    ) -> Mixture:
        noise = _uniform(mixture, self.radius(progress), draws)
        return {
            group: relaxation.renormalise(values[:1] + noise[group]).expand_as(values)
            for group, values in mixture.items()
        }


@dataclass(frozen=True)
class _Attack(_Radius):
    """Gradient ascent on the batch of the weight step: a random start, then ``steps`` steps of ``2ε/steps``.

    The network is in evaluation mode throughout. If the loss at the end is not above the clean one, the clean mixture
    is used. How a step is taken, and what brings it back into the set of mixtures, is the subclass's.
    """

    steps: int = 7

    def __post_init__(self) -> None:
        _Radius.__post_init__(self)
        if self.steps < 1:
            raise Refused(f"an attack needs at least 1 step, got {self.steps}")

    def _start(self, values: Tensor, clean: Tensor, relaxation: Relaxation, radius: float) -> Tensor:
        """The mixture to start from, of the clean one with noise added."""
        raise NotImplementedError

    def _climb(self, values: Tensor, gradient: Tensor, clean: Tensor, relaxation: Relaxation, radius: float) -> Tensor:
        """The mixture after one step; all tensors are ``[1, rows, candidates]``."""
        raise NotImplementedError

    def __call__(
        self, mixture: Mixture, loss: Loss, relaxation: Relaxation, progress: Progress, draws: Chance
    ) -> Mixture:
        radius = self.radius(progress)
        clean = {group: values[:1].detach() for group, values in mixture.items()}

        def spread(shared: Mixture) -> Mixture:
            return {group: values.expand_as(mixture[group]) for group, values in shared.items()}

        noise = _uniform(clean, radius, draws)
        attack = {
            group: self._start(values + noise[group], values, relaxation, radius) for group, values in clean.items()
        }
        for _ in range(self.steps):
            leaves = {group: values.detach().requires_grad_() for group, values in attack.items()}
            gradients = torch.autograd.grad(  # a module of your own may leave a choice out of a step
                loss.evaluation(spread(leaves)), list(leaves.values()), allow_unused=True, materialize_grads=True
            )
            for (group, leaf), gradient in zip(leaves.items(), gradients, strict=True):
                attack[group] = self._climb(leaf.detach(), gradient, clean[group], relaxation, radius)
        with torch.no_grad():
            harmful = loss.evaluation(spread(attack)) > loss.evaluation(spread(clean))
        return spread({group: torch.where(harmful, attack[group], values) for group, values in clean.items()})


@fills("perturbation")
@dataclass(frozen=True)
class AdversarialSmoothing(_Attack):
    """SDARTS-ADV as published: ascent along the sign of ``∂L_tr/∂p``, on the batch of the weight step.

    From a random start as `RandomSmoothing`'s, ``steps`` steps

        ``p ← R(p̄ + clip(p + 2ε/steps·sign(∂L_tr/∂p) − p̄, −ε, ε))``,  p̄ the clean mixture,

    where ``R`` is `Relaxation.renormalise`: clamp to [0, 1] and divide by the row's sum. The network is in evaluation
    mode throughout. If the loss at the end is not above the clean one, the clean mixture is used.

    As in the released code, dividing by the sum can lead out of the ball: ``|δ|`` may end above ε. Weights of the
    sigmoid relaxation are independent, so ``R`` only clamps them, and they stay in the ball.
    """

    kind: ClassVar[str] = "adversarial"

    def _start(self, values: Tensor, clean: Tensor, relaxation: Relaxation, radius: float) -> Tensor:
        return relaxation.renormalise(values)

    def _climb(self, values: Tensor, gradient: Tensor, clean: Tensor, relaxation: Relaxation, radius: float) -> Tensor:
        moved = values + 2 * radius / self.steps * gradient.sign()
        return relaxation.renormalise(clean + (moved - clean).clamp(-radius, radius))


@fills("perturbation")
@dataclass(frozen=True)
class ExactAdversarialSmoothing(_Attack):
    """A stronger attack than the published one: ``max L_tr(w, p + δ)`` over all mixtures with ``‖δ‖∞ ≤ ε``.

    A random start in the ball, then ``steps`` steps of ``s = 2ε/steps`` along the sign of the gradient ``g``, as far as
    mixtures can move along it, each followed by the exact projection ``Π`` onto the ball and the set of mixtures
    (`Relaxation.project`):

        ``p ← Π(p + s·sign(Π(p + s·g/max|g|) − p))``, ``max|g|`` row by row.

    Two things differ from `AdversarialSmoothing`. ``δ`` stays in the ball. And where all signs of a softmax row agree,
    as they often do, a step along ``sign(g)`` moves every entry alike, which rows that sum to 1 undo: here the sign is
    that of the step that the set allows. For the sigmoid relaxation the two attacks do the same.
    """

    kind: ClassVar[str] = "adversarial-exact"

    def _start(self, values: Tensor, clean: Tensor, relaxation: Relaxation, radius: float) -> Tensor:
        return relaxation.project(values, clean, radius)

    def _climb(self, values: Tensor, gradient: Tensor, clean: Tensor, relaxation: Relaxation, radius: float) -> Tensor:
        step = 2 * radius / self.steps
        largest = gradient.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
        moved = relaxation.project(values + step * gradient / largest, clean, radius) - values
        uphill = moved.sign() * (moved.abs() > ROUNDING * step)  # at a corner only rounding is left to follow
        return relaxation.project(values + step * uphill, clean, radius)
