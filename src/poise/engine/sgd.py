"""The optimizers of weights and alphas: all parameters in a few launches, and nothing that a captured step cannot
replay.

They are fused where torch has that in every version: learning rates are then scalars on the device, which a step reads
there, as is the flag that withholds it (`poise.engine.divergence`). Momentum starts from zeros, which is the same as
torch's own first step.

Fused kernels, and those on lists, take parameters, gradients and what is remembered to lie alike in memory, on a CPU
without looking: gradients are brought into the layout of their parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from poise.engine.settings import AlphaSettings, WeightSettings
from poise.supernet.layout import laid_out

Optimizer = TypeVar("Optimizer", bound=torch.optim.Optimizer)

FUSED = ("cpu", "cuda")
"""Devices with fused optimizers."""


def sgd(
    weights: Mapping[str, Tensor], form: WeightSettings, fault: Tensor, learning_rate: float | None = None
) -> torch.optim.SGD:
    """SGD on these weights, at the settings' learning rate or at this one; it does nothing where ``fault`` is 1."""
    values = list(weights.values())
    rate, fused = _rate(values, form.learning_rate if learning_rate is None else learning_rate)
    optimizer = torch.optim.SGD(values, rate, form.momentum, 0, form.weight_decay, form.nesterov, fused=fused)
    if form.momentum:
        for weight in values:
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return _withheld(optimizer, fault)


def adam(alphas: Iterable[Tensor], form: AlphaSettings, fault: Tensor) -> torch.optim.Adam:
    """Adam on these alphas; it does nothing where ``fault`` is 1."""
    values = list(alphas)
    rate, fused = _rate(values, form.learning_rate)
    optimizer = torch.optim.Adam(
        values, rate, form.betas, weight_decay=form.weight_decay, fused=fused, capturable=bool(fused)
    )
    return _withheld(optimizer, fault)


def _withheld(optimizer: Optimizer, fault: Tensor) -> Optimizer:
    if fault.device.type in FUSED:
        optimizer.found_inf = fault  # type: ignore[attr-defined]
    return optimizer


def _rate(parameters: Sequence[Tensor], value: float) -> tuple[float | Tensor, bool | None]:
    """The learning rate in the form that a step reads it in, and whether the step is fused."""
    device = parameters[0].device if parameters else torch.device("cpu")
    if device.type not in FUSED:
        return value, None
    dtype = torch.float64 if device.type == "cpu" else torch.float32  # CUDA's kernels read a float32
    return torch.tensor(value, dtype=dtype, device=device), True


def learning_rate_of(optimizer: torch.optim.Optimizer) -> float | Tensor:
    """The learning rate as a step reads it."""
    rate: float | Tensor = optimizer.param_groups[0]["lr"]
    return rate


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Let the next steps go by this rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def clipped_step(
    optimizer: torch.optim.SGD,
    weights: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    norm: Tensor,
    clip: float,
) -> None:
    """``w ← w − η·update(g·min(1, clip/‖g‖))``; ``norm`` is ‖g‖, that of all gradients together."""
    shrink = (clip / (norm + 1e-6)).clamp(max=1)
    # Not in place: autograd hands out one tensor for two weights whose gradients are the same.
    for name, gradient in zip(gradients, torch._foreach_mul(list(gradients.values()), shrink), strict=True):
        weights[name].grad = laid_out(gradient, weights[name])
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
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    values: dict[int, dict[str, Any]] = {}
    for name, remembered in state.items():
        parameter = parameters[numbers[name]]
        values[numbers[name]] = {
            key: laid_out(value, parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value
            for key, value in copy.deepcopy(dict(remembered)).items()
        }
    optimizer.load_state_dict(optimizer.state_dict() | {"state": values})
