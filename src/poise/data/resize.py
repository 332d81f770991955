"""Resizing of images that are already a tensor, as `poise.data.decode` does for encoded ones, and of masks."""

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


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """``[n, height, width]`` to ``[n, *size]``: each pixel is that which lies under its middle, so no class is made
    up."""
    if masks.shape[1:] == size:
        return masks
    rows, columns = (
        (2 * torch.arange(wanted, device=masks.device) + 1) * given // (2 * wanted)
        for given, wanted in zip(masks.shape[1:], size, strict=True)
    )
    return masks[:, rows[:, None], columns]


def labels_of(labels: Tensor, rows: Tensor, size: int | None) -> Tensor:
    """The labels at ``rows: [k]``; masks ``[n, height, width]`` resized as their images are."""
    chosen = labels[rows]
    return resize_masks(chosen, (size, size)) if size and labels.ndim == 3 and labels.dtype == torch.int64 else chosen
