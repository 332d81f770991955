"""Pixels to what a network takes: normalised, in its dtype and layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from poise.errors import Refused


class Normalised:
    """``(value / unit - mean) / std`` of pixels ``[batch, height, width, channels]``, channel by channel.

    Raises `Refused` for a mean or std of the wrong length, and a std that is not above 0.
    """

    def __init__(
        self, channels: int, mean: Sequence[float], std: Sequence[float], unit: float, *, device: torch.device | str,
        dtype: torch.dtype, channels_last: bool = True,
    ) -> None:  # fmt: skip
        if len(mean) != channels or len(std) != channels:
            raise Refused(f"mean has {len(mean)} and std {len(std)} numbers, expected {channels}, one per channel")
        if not all(value > 0 for value in std):
            raise Refused(f"std is {tuple(std)}, expected numbers above 0")
        exact = torch.promote_types(dtype, torch.float32)  # half precision is rounded to once, at the end
        self._mean = torch.tensor([value * unit for value in mean], dtype=exact, device=device)
        self._std = torch.tensor([value * unit for value in std], dtype=exact, device=device)
        self._dtype = dtype
        self._channels_last = channels_last

    def __call__(self, pixels: Tensor) -> Tensor:
        """The same layout, on the pixels' device."""
        return pixels.to(self._mean.dtype, copy=True).sub_(self._mean).div_(self._std)

    def finished(self, images: Tensor) -> Tensor:
        """``[batch, height, width, channels]`` -> ``[batch, channels, height, width]`` as it was asked for."""
        images = images.to(self._dtype).permute(0, 3, 1, 2)
        # Of one channel both layouts are the same memory, but not the same strides, which convolutions go by.
        return images if self._channels_last else images.clone(memory_format=torch.contiguous_format)
