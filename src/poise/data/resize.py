"""Resizing of images that are already a tensor, as `poise.data.decode` does for encoded ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def resize(pixels: Tensor, size: int) -> Tensor:
    """``[n, channels, height, width]`` (uint8 or float32) to ``[n, channels, size, size]``, same dtype.

    Averaged over blocks where that is a whole factor, else bilinear with antialiasing; uint8 is rounded to nearest.
    """
    count, channels, height, width = pixels.shape
    if (height, width) == (size, size):
        return pixels
    if height % size == 0 and width % size == 0:
        blocks = pixels.reshape(count, channels, size, height // size, size, width // size)
        if pixels.dtype != torch.uint8:
            return blocks.mean((3, 5))
        area = (height // size) * (width // size)
        return ((blocks.sum((3, 5), dtype=torch.int32) + area // 2) // area).to(torch.uint8)
    smooth = functional.interpolate(pixels.float(), (size, size), mode="bilinear", antialias=True)
    return smooth.round().clamp(0, 255).to(torch.uint8) if pixels.dtype == torch.uint8 else smooth
