"""Segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from poise.data.labels import Masks, Seen
from poise.engine.class_counts import ClassCounts, Counts, mean
from poise.engine.objective import Meter, Metric, Objective, Reduction
from poise.engine.predict import Prediction
from poise.errors import Refused
from poise.export.answers import mask_answers
from poise.tasks.supervised import Supervised
from poise.tasks.task import TASKS

IGNORE = 255

METRICS = (Metric("mean_iou", share=True), Metric("pixel_accuracy", share=True))


@dataclass(frozen=True)
class PixelCrossEntropy(Objective):
    """``Σ_i (Σ_{x in i} l_x + λ·v_i·D_i) / Σ_i v_i``: ``l_x`` is the cross-entropy of pixel x, ``v_i`` the number of
    pixels of image i that count, and ``D_i`` its soft Dice loss,

        ``D = 1 − mean over classes c of (2·Σ_x p_xc·q_xc + 1) / (Σ_x p_xc + Σ_x q_xc + 1)``,

    with ``p = softmax(outputs)`` and ``q = onehot(target)``, over the pixels that count. So it is the same for any
    division into batches, and 0 where no pixel counts.

    Outputs are ``[n, K, h, w]``, targets ``[n, h, w]`` int64. Measures ``mean_iou``, the mean over classes that are
    there or predicted of ``intersection / union`` over all images together, and ``pixel_accuracy``.

    Source: Milletari et al., V-Net (arXiv:1606.04797), section 3. Differs: sums instead of sums of squares below the
    line, as most code has it, and 1 added above and below it, so that a class that is neither there nor predicted is
    perfect.

    Args:
        names: of the K classes.
        label_smoothing: of the cross-entropy.
        ignore_index: pixels with this target do not count.
        dice: λ.
    """

    names: tuple[str, ...]
    label_smoothing: float = 0.0
    ignore_index: int = IGNORE
    dice: float = 0.0

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return METRICS

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        total = F.cross_entropy(
            outputs, targets, ignore_index=self.ignore_index, reduction="sum", label_smoothing=self.label_smoothing
        )
        if self.dice:
            pixels = self._valid(targets).flatten(1).sum(dim=1)
            total = total + self.dice * (pixels * self._dice(outputs, targets)).sum()
        # The mean of no pixel is 0: divided by none it would be no number.
        return total if reduction == "sum" else total / self.count(targets).clamp(min=1)

    def count(self, targets: Tensor) -> Tensor:
        return self._valid(targets).sum()

    def running(self) -> Meter:
        return ClassCounts(len(self.names), _overlap, self.ignore_index)

    def meter(self) -> Meter:
        return ClassCounts(len(self.names), _overlap_and_accuracy, self.ignore_index)

    def check(self, outputs: Any, targets: Tensor) -> None:
        expected = [len(targets), len(self.names), *targets.shape[1:]]
        if not isinstance(outputs, Tensor) or list(outputs.shape) != expected:
            raise Refused(f"expected logits {expected}, one per class for every pixel")

    def _valid(self, targets: Tensor) -> Tensor:
        return targets != self.ignore_index

    def _dice(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """``D`` of each image, ``[n]``."""
        valid = self._valid(targets)
        classes = F.one_hot(targets.where(valid, 0), len(self.names)).movedim(-1, 1)
        there = (classes * valid.unsqueeze(1)).flatten(2)  # [n, K, pixels]
        shares = (outputs.softmax(dim=1) * valid.unsqueeze(1)).flatten(2)
        overlap = 2 * (shares * there).sum(dim=2) + 1
        return 1 - (overlap / (shares.sum(dim=2) + there.sum(dim=2) + 1)).mean(dim=1)


def _overlap(counts: Counts) -> dict[str, float]:
    return {"mean_iou": mean(counts.overlaps.values())}


def _overlap_and_accuracy(counts: Counts) -> dict[str, float]:
    whole = sum(counts.there)
    return _overlap(counts) | {"pixel_accuracy": sum(counts.hits) / whole if whole else 0.0}


@TASKS.add("segmentation")
@dataclass(frozen=True)
class Segmentation(Supervised):
    """A class for every pixel, by cross-entropy; measured by mean intersection over union.

    Args:
        ignore_index: pixels of this value in a mask have no class.
        dice: how much soft Dice loss is added.
    """

    ignore_index: int = IGNORE
    dice: float = 0.0

    name: ClassVar[str] = "segmentation"
    pipelines: ClassVar[Mapping[str, str]] = {"images": "image-segmentation"}
    dense: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"train": {"auxiliary": 0.0}}  # a dense head has no second
    measures: ClassVar[tuple[Metric, ...]] = METRICS

    def __post_init__(self) -> None:
        if self.dice < 0:
            raise Refused(f"task.dice is the weight of the Dice loss, at least 0; got {self.dice}")

    @property
    def labels(self) -> Masks:
        return Masks(self.ignore_index)

    def objective(self, seen: Seen, label_smoothing: float = 0.0) -> PixelCrossEntropy:
        return PixelCrossEntropy(seen.names, label_smoothing, self.ignore_index, self.dice)

    def predictions(self, outputs: Tensor, seen: Seen) -> list[Prediction]:
        """The ``mask`` of the likeliest classes, uint8 ``[height, width]``, and their ``shares`` of it, by name."""
        return mask_answers(outputs, seen.names)
