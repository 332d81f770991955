"""A smooth float64 mixture network, its losses, and textbook formulas to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from poise.costs.costs import Aim
from poise.methods.slots import Descent, Progress, Relaxed
from poise.supernet.groups import ChoiceGroup, Row, expand

ROWS = (Row("a", ("x", "y", "z")), Row("b", ("x", "y", "z")))
GROUPS = (ChoiceGroup("normal", 3, ROWS), ChoiceGroup("reduce", 2, ROWS, aligned=False))
WIDTH = 4


def draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def smooth_weights(groups: tuple[ChoiceGroup, ...] = GROUPS) -> dict[str, Tensor]:
    weights = {
        group.name: draw(group.layers, *group.shape, WIDTH, WIDTH, seed=number, scale=0.7)
        for number, group in enumerate(groups)
    }
    weights["head"] = draw(WIDTH, 3, seed=99)
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def smooth_mixture(groups: tuple[ChoiceGroup, ...] = GROUPS) -> dict[str, Tensor]:
    """Softmax weights, one copy per layer."""
    return expand({g.name: draw(*g.shape, seed=50 + i).softmax(-1) for i, g in enumerate(groups)}, groups)


def relaxed(probabilities: Mapping[str, Tensor], aim: Aim | None = None) -> Relaxed:
    """What a penalty sees at the beginning of a search, to which only these matter."""
    return Relaxed({name: values.logit() for name, values in probabilities.items()}, probabilities, Progress(0, 1), aim)


class SmoothLoss:
    """Cross-entropy of ``h <- Σ_row Σ_o p[l, row, o]·tanh(h W[l, row, o])``: a `Loss` that records its calls."""

    def __init__(self, weights: Mapping[str, Tensor], groups: tuple[ChoiceGroup, ...] = GROUPS, seed: int = 7) -> None:
        self.own = weights
        self.groups = groups
        self.inputs = draw(6, WIDTH, seed=seed)
        self.labels = torch.arange(6) % 3
        self.calls: list[tuple[dict[str, Tensor], Mapping[str, Tensor] | None, bool]] = []
        self.full_precision: list[bool] = []

    def value(self, mixture: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
        hidden = self.inputs
        for group in self.groups:
            for layer in range(group.layers):
                candidates = torch.tanh(torch.einsum("bi,roij->robj", hidden, weights[group.name][layer]))
                hidden = torch.einsum("ro,robj->bj", mixture[group.name][layer], candidates)
        return torch.nn.functional.cross_entropy(hidden @ weights["head"], self.labels)

    def __call__(
        self,
        mixture: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        full_precision: bool = False,
    ) -> Tensor:
        self.full_precision.append(full_precision)
        self.calls.append(({name: values.detach().clone() for name, values in mixture.items()}, weights, track))
        return self.value(mixture, self.own if weights is None else {**self.own, **weights})

    def evaluation(self, mixture: Mapping[str, Tensor]) -> Tensor:
        return self.value(mixture, self.own)


class MixtureLoss:
    """Any function of the mixture as a loss; `evaluation` is the same."""

    def __init__(self, function: Callable[[Mapping[str, Tensor]], Tensor]) -> None:
        self.function = function
        self.seen: list[dict[str, Tensor]] = []

    def __call__(
        self, mixture: Any, weights: Any = None, *, track: bool = False, full_precision: bool = False
    ) -> Tensor:
        raise AssertionError("an attack runs in evaluation mode")

    def evaluation(self, mixture: Mapping[str, Tensor]) -> Tensor:
        self.seen.append({name: values.detach().clone() for name, values in mixture.items()})
        return self.function(mixture)


def descent(weights: Mapping[str, Tensor], nesterov: bool = False, buffers: bool = True) -> Descent:
    held = {name: draw(*weight.shape, seed=300 + i, scale=0.2) for i, (name, weight) in enumerate(weights.items())}
    return Descent(0.3, 0.9, 0.05, nesterov, held if buffers else {})


def relative(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """‖found − expected‖ / ‖expected‖ over all tensors."""
    assert set(found) == set(expected)
    difference = torch.stack([(found[name] - expected[name]).norm() for name in expected]).norm()
    return float((difference / torch.stack([value.norm() for value in expected.values()]).norm()).detach())
