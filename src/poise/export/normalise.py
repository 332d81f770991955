"""Normalisation as a first layer: an exported network takes plain images. Knows torch only: exports carry this code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """``(x - mean) / std``, channel by channel, of images ``[batch, channels, height, width]``.

    Args:
        mean, std: one number per channel; every ``std`` is positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(0 < deviation < float("inf") for deviation in std):
            raise ValueError(f"Normalise needs one mean and one positive std per channel, got {mean} and {std}")
        self.arguments: dict[str, object] = {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}
        self.register_buffer("mean", torch.tensor(self.arguments["mean"]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(self.arguments["std"]).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
