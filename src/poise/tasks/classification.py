"""Classification: every input is of one of several classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from poise.data.labels import ClassIds, Seen
from poise.engine.class_counts import ClassCounts, Counts, mean
from poise.engine.meters import finest
from poise.engine.objective import ACCURACY, Deciding, HitMeter, Meter, Metric, Reduction
from poise.engine.predict import Prediction
from poise.errors import Refused
from poise.export.answers import class_answers
from poise.supernet.constants import constant
from poise.tasks.supervised import Supervised
from poise.tasks.task import TASKS

TOP = 5

SHOWN = 100
"""Classes of which each has a number of its own."""

METRICS = (ACCURACY, Metric(f"top{TOP}_accuracy", share=True), Metric("balanced_accuracy", share=True))


def balanced(counts: Sequence[float]) -> tuple[float, ...]:
    """``n / (K·n_c)`` for every class c of ``n_c`` images, so that each class weighs as much as any other; 1 for a
    class without images."""
    whole = sum(counts)
    return tuple(whole / (len(counts) * count) if count else 1.0 for count in counts)


@dataclass(frozen=True)
class OneClass(Deciding):
    """``Σ_i w_i·l_i / Σ_i w_i``: ``w_i`` is the weight of image i's class and ``l_i`` its cross-entropy, smoothed as in
    `poise.engine.objective.CrossEntropy`, which this is to the bit where no weights are given.

    Outputs are ``[n, K]``, targets ``[n]`` int64. Measures ``accuracy``; of more than 5 classes ``top5_accuracy``;
    ``accuracy/NAME``, the share of a class's images that are right (of more than 100 classes nobody reads them); and
    ``balanced_accuracy``, its mean over the classes that occur.

    Args:
        names: of the K classes.
        label_smoothing: ε.
        class_weights: one per class; empty: all are 1.
    """

    names: tuple[str, ...]
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return METRICS

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        weights = constant(self.class_weights, outputs.dtype, outputs.device) if self.class_weights else None
        return F.cross_entropy(outputs, targets, weights, reduction=reduction, label_smoothing=self.label_smoothing)

    def count(self, targets: Tensor) -> Tensor | int:
        if not self.class_weights:
            return len(targets)
        weights = constant(self.class_weights, finest(targets.device), targets.device)
        return weights[targets].sum()

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.detach().argmax(dim=1) == targets

    def running(self) -> Meter:
        return HitMeter(self)

    def meter(self) -> Meter:
        return ClassCounts(len(self.names), self._read, top=TOP if len(self.names) > TOP else None)

    def _read(self, counts: Counts) -> dict[str, float]:
        whole, recalls = sum(counts.there), counts.recalls
        shown = recalls if len(self.names) <= SHOWN else {}
        return {
            "accuracy": sum(counts.hits) / whole,
            **({f"top{TOP}_accuracy": sum(counts.near) / whole} if counts.near else {}),
            "balanced_accuracy": mean(recalls.values()),
            **{f"accuracy/{self.names[index]}": recall for index, recall in shown.items()},
        }

    def check(self, outputs: Any, targets: Tensor) -> None:
        expected = [len(targets), len(self.names)]
        if not isinstance(outputs, Tensor) or list(outputs.shape) != expected:
            raise Refused(f"expected logits {expected}, one per class")


@TASKS.add("classification")
@dataclass(frozen=True)
class Classification(Supervised):
    """One class per input, by cross-entropy; measured by accuracy.

    Args:
        class_weights: ``balanced``: every class weighs as much as any other in the loss, however many images it has.
    """

    class_weights: Literal["none", "balanced"] = "none"

    name: ClassVar[str] = "classification"
    pipelines: ClassVar[Mapping[str, str]] = {"images": "image-classification", "rows": "tabular-classification"}
    measures: ClassVar[tuple[Metric, ...]] = METRICS

    @property
    def labels(self) -> ClassIds:
        return ClassIds()

    def objective(self, seen: Seen, label_smoothing: float = 0.0) -> OneClass:
        weights = balanced(seen.statistics["count"]) if self.class_weights == "balanced" else ()
        return OneClass(seen.names, label_smoothing, weights)

    def predictions(self, outputs: Tensor, seen: Seen) -> list[Prediction]:
        """The likeliest ``class``, its ``probability``, and the ``probabilities`` of all, by name."""
        return class_answers(outputs, seen.names)
