"""What an optimizer remembers of what it moves, as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def moments(optimizer: torch.optim.Optimizer, moved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An optimizer's state, as ``KEY/NAME`` of what it moves."""
    return {
        f"{key}/{name}": value
        for name, parameter in moved.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def set_moments(optimizer: torch.optim.Optimizer, moved: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Let an optimizer go on from the state that `moments` gave."""
    optimizer.state.clear()
    for label, value in values.items():
        key, _, name = label.partition("/")
        # Adam counts its steps on the CPU; everything else lies where its parameter does.
        optimizer.state[moved[name]][key] = value.clone() if key == "step" else value.to(moved[name], copy=True)
