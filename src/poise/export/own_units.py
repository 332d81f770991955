"""Numbers in their own units as a last layer. Knows torch only: exports carry this code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class OwnUnits(nn.Module):
    """``x·std + mean``, quantity by quantity, of standardised numbers ``[batch, quantities]``; ``[batch]`` of a single
    one become ``[batch, 1]``.

    Args:
        mean, std: one number per quantity.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}
        self.register_buffer("mean", torch.tensor(self.arguments["mean"]))
        self.register_buffer("std", torch.tensor(self.arguments["std"]))

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, len(self.mean)) * self.std + self.mean
