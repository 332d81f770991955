"""The SGD of weights, its clipped step, and what an optimizer remembers."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from poise.engine.settings import WeightSettings


def sgd(weights: Mapping[str, Tensor], form: WeightSettings, learning_rate: float | None = None) -> torch.optim.SGD:
    """SGD on these weights, at the settings' learning rate or at this one."""
    rate = form.learning_rate if learning_rate is None else learning_rate
    return torch.optim.SGD(weights.values(), rate, form.momentum, 0, form.weight_decay, form.nesterov)


def clipped_step(
    optimizer: torch.optim.SGD,
    weights: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    norm: Tensor,
    clip: float,
    learning_rate: float,
) -> None:
    """``w ← w − η·update(g·min(1, clip/‖g‖))``; ``norm`` is ‖g‖, that of all gradients together."""
    shrink = (clip / (norm + 1e-6)).clamp(max=1)
    for name, gradient in gradients.items():
        # Not in place: autograd hands out one tensor for two weights whose gradients are the same.
        weights[name].grad = gradient * shrink
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()


def optimizer_state(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What an optimizer remembers of each parameter, by the names of its parameters in their order."""
    state = optimizer.state_dict()["state"]
    return {name: dict(state[number]) for number, name in enumerate(names) if number in state}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Iterable[str], state: Mapping[str, Mapping[str, Any]]
) -> None:
    """Let an optimizer go on from what `optimizer_state` gave. Its settings stay: learning rate, momentum and so on."""
    numbers = {name: number for number, name in enumerate(names)}
    values = {numbers[name]: dict(copy.deepcopy(value)) for name, value in state.items()}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": values})
