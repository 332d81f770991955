"""Random crop, flip and cutout of a whole batch at once, from draws made beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from poise.errors import Refused


class Draws(NamedTuple):
    """What chance decided for each image of a batch; every field is int64 ``[batch]``."""

    shift_rows: Tensor  # -crop_padding .. crop_padding; 1 shows the image one pixel higher up
    shift_columns: Tensor
    flip: Tensor  # 0 or 1
    centre_rows: Tensor  # of the cutout, 0 .. height - 1
    centre_columns: Tensor


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    ``crop_padding``: pixels of black (0) put around the image before a crop of the original size is taken at random.
    ``flip``: mirror left-right with probability 1/2. ``cutout``: side in pixels of a square set to 0 after
    normalisation, i.e. to the mean colour; its centre is uniform over the image and it is clipped at the border
    (DeVries and Taylor, arXiv:1708.04552). Sides are exact; the authors' code makes an odd side one pixel smaller.
    Raises `Refused` for anything but integers from 0, or a ``flip`` that is not a bool.
    """

    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("crop_padding", "cutout"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise Refused(f"{name} is {value!r}, expected a number of pixels: an integer from 0")
        if type(self.flip) is not bool:
            raise Refused(f"flip is {self.flip!r}, expected true or false")

    def check(self, size: tuple[int, int]) -> None:
        """Raises `Refused` if images of ``size`` (height, width) could lose every pixel."""
        if self.crop_padding >= min(size):
            raise Refused(f"crop_padding is {self.crop_padding}, expected less than the image side ({min(size)})")
        if self.cutout > min(size):
            raise Refused(f"cutout is {self.cutout}, expected at most the image side ({min(size)})")

    def draw(self, batch: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Let chance decide for ``batch`` images of ``size`` (height, width), on the generator's device."""

        def integers(low: int, high: int) -> Tensor:
            return torch.randint(low, high, (batch,), generator=generator, device=generator.device)

        padding = self.crop_padding
        return Draws(
            shift_rows=integers(-padding, padding + 1),
            shift_columns=integers(-padding, padding + 1),
            flip=integers(0, 2 if self.flip else 1),
            centre_rows=integers(0, size[0]),
            centre_columns=integers(0, size[1]),
        )

    def take(self, pixels: Tensor, index: Tensor, draws: Draws, outside: int = 0) -> Tensor:
        """Pick, crop and flip: ``pixels: [n, height, width, channels]``, ``index: [batch]`` -> the batch, same layout.

        out[b, i, j] = image_b[i + shift_row_b, j' + shift_column_b], with j' = width - 1 - j where flipped; ``outside``
        beyond the border.
        """
        if not self.crop_padding and not self.flip:
            return pixels.index_select(0, index)
        _, height, width, channels = pixels.shape
        columns = torch.arange(width, device=pixels.device)
        columns = torch.where(draws.flip[:, None] > 0, width - 1 - columns, columns) + draws.shift_columns[:, None]
        rows = torch.arange(height, device=pixels.device) + draws.shift_rows[:, None]
        offset = index[:, None] * height + rows.clamp(0, height - 1)  # [batch, height]
        flat = offset[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]  # [batch, height, width]
        taken = pixels.view(-1, channels).index_select(0, flat.flatten()).view(*flat.shape, channels)
        if not self.crop_padding:
            return taken
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        if outside:
            return taken.masked_fill_(~inside[..., None], outside)
        return taken.mul_(inside[..., None].to(taken.dtype))

    def cut_out(self, images: Tensor, draws: Draws) -> Tensor:
        """Set the square of each of ``images: [batch, height, width, channels]`` (normalised) to 0, in place."""
        if not self.cutout:
            return images
        rows = self._covers(draws.centre_rows, images.shape[1])
        columns = self._covers(draws.centre_columns, images.shape[2])
        return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[..., None], 0)

    def _covers(self, centres: Tensor, length: int) -> Tensor:
        first = (centres - self.cutout // 2)[:, None]
        position = torch.arange(length, device=centres.device)
        return (position >= first) & (position < first + self.cutout)
