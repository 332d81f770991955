"""Tensors on their way from the host to where a network computes."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device | str) -> Tensor:
    """The values on a device. Nobody waits: to a GPU they go by way of pinned memory, while it computes what it was
    given before."""
    if torch.device(device).type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
