"""Labelled images of one size, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poise.errors import Refused

FORMS = ((torch.int64, 1), (torch.float32, 2), (torch.int64, 3))
"""Dtype and axes of labels: class ids; sets of classes or numbers; masks."""
STD_FLOOR = 1e-3  # a constant channel has a standard deviation of 0, and dividing by it must not blow up


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images and their labels.

    ``pixels: [n, channels, height, width]``, uint8 (0..255) or float32 (kept as they came). ``labels`` are one of

    - class ids: int64 ``[n]``, each an index into ``names``
    - sets of classes, or numbers: float32 ``[n, k]``, one for each of ``names``
    - masks: int64 ``[n, height, width]``, a class for every pixel; which values there may be is known to `Masks`.

    Without names they may be of any shape ``[n, ...]``, for a task of your own.

    Raises `Refused` if shapes, dtypes or labels do not fit together.
    """

    pixels: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4:
            raise Refused(f"pixels have shape {list(self.pixels.shape)}, expected [n, channels, height, width]")
        if self.pixels.dtype not in (torch.uint8, torch.float32):
            raise Refused(f"pixels are {self.pixels.dtype}, expected torch.uint8 (0..255) or torch.float32")
        form = (self.labels.dtype, self.labels.ndim)
        if form not in FORMS and (self.names or form[0] not in (torch.int64, torch.float32) or not form[1]):
            raise Refused(
                f"labels are {self.labels.dtype} {list(self.labels.shape)}, expected torch.int64 [n] (class ids), "
                "torch.float32 [n, k] (sets of classes, numbers) or torch.int64 [n, height, width] (masks)"
            )
        if len(self.pixels) != len(self.labels):
            raise Refused(f"{len(self.pixels)} images but {len(self.labels)} labels")
        if not self.names:
            return
        if self.labels.ndim == 2 and self.labels.shape[1] != len(self.names):
            raise Refused(f"labels have {self.labels.shape[1]} numbers per image, but {len(self.names)} names")
        if self.labels.ndim == 3 and self.labels.shape[1:] != self.pixels.shape[2:]:
            sides = [" x ".join(map(str, each.shape[-2:])) for each in (self.labels, self.pixels)]
            raise Refused(f"masks are {sides[0]}, images {sides[1]} (height x width), expected the same size")
        if len(self.labels) and self.labels.ndim == 1:
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= len(self.names):
                raise Refused(f"labels span {low}..{high}, expected 0..{len(self.names) - 1} (one per class name)")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.pixels.shape[1:]))
        names = ", ".join(self.names[:5]) + (", …" if len(self.names) > 5 else "")
        kind = {1: "classes", 3: "classes of pixels"}.get(self.labels.ndim, "labels per image")
        return f"Images({len(self):,} of {shape}, {self.pixels.dtype}; {len(self.names)} {kind}: {names:.200})"

    @property
    def channels(self) -> int:
        return self.pixels.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)``."""
        return self.pixels.shape[2], self.pixels.shape[3]

    @property
    def masked(self) -> bool:
        """Whether the labels are masks, which move with their images."""
        return self.labels.dtype == torch.int64 and self.labels.shape[1:] == self.pixels.shape[2:]

    def subset(self, indices: Tensor) -> Images:
        """The images at ``indices: [k]`` (int64), in that order."""
        where = indices.to(self.labels.device)
        return Images(self.pixels[where], self.labels[where], self.names)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation (of the population) of each channel.

        In units of ``value / 255`` for uint8 pixels, of the values themselves for floats. Computed exactly, in float64.
        The deviation is at least ``STD_FLOOR``. Raises `Refused` if there are no images.
        """
        if not len(self):
            raise Refused("no images to take the mean and standard deviation of")
        moments = [_moments(self.pixels[:, channel]) for channel in range(self.channels)]
        return tuple(mean for mean, _ in moments), tuple(max(std, STD_FLOOR) for _, std in moments)


def _moments(values: Tensor) -> tuple[float, float]:
    if values.dtype == torch.uint8:  # from the histogram: exact, and no copy of the pixels in float64
        parts = torch.split(values, 4096)  # images at once
        weights = torch.stack([torch.bincount(part.flatten(), minlength=256) for part in parts]).sum(0).cpu().double()
        levels = torch.arange(256, dtype=torch.float64) / 255
        mean = (weights * levels).sum() / weights.sum()
        variance = (weights * (levels - mean).square()).sum() / weights.sum()
        return float(mean), float(variance.sqrt())
    variance, mean = torch.var_mean(values.cpu().double(), correction=0)
    return float(mean), float(variance.sqrt())
