"""What cell networks end in: one answer for the image, or one for every pixel. Knows torch only: exports carry this
code.

Source of the dense head: Long et al., Fully Convolutional Networks (arXiv:1411.4038), section 4.2: a linear prediction
at every resolution, the coarser ones upsampled to the finer and added. Differs: the upsampling is bilinear for good,
where theirs begins so and is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class ClassHead(nn.Linear):
    """``W · mean over the pixels of the last feature maps + b``, ``[batch, outputs]``."""

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:  # type: ignore[override]
        """``maps``: the last feature maps of each resolution, the finest first; ``size`` of the images is no matter."""
        return super().forward(maps[-1].mean(dim=(2, 3)))


class DenseHead(nn.Module):
    """``Σ_r upsampled(W_r · maps_r + b_r)`` over the resolutions ``r``, ``[batch, outputs, height, width]``.

    Args:
        widths: channels of the last feature maps of each resolution, the finest first.
        outputs: numbers for every pixel.
    """

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(width, outputs, 1) for width in widths)

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """``maps`` as `ClassHead.forward` has them; ``size``: height and width of the images, which the result has."""
        *finer, total = [project(x) for project, x in zip(self.projections, maps, strict=True)]
        for scores in reversed(finer):
            total = upsampled(total, scores.shape[2:]) + scores
        return upsampled(total, size)


def upsampled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, with pixels as squares: their middles lie at ``(i + 1/2) / side``."""
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def head(widths: Sequence[int], outputs: int, dense: bool) -> nn.Module:
    """The head of a network whose last feature maps of each resolution, the finest first, have these widths."""
    return DenseHead(widths, outputs) if dense else ClassHead(widths[-1], outputs)
