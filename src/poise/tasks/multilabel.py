"""Multi-label classification: an image is of a set of classes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.data.labels import ClassSets, Seen
from poise.engine.class_counts import mean
from poise.engine.meters import TorchMeter, number, precise
from poise.engine.objective import Meter, Metric, Objective, Reduction
from poise.engine.predict import Prediction
from poise.errors import Refused
from poise.export.answers import set_answers
from poise.supernet.constants import constant
from poise.tasks.supervised import Supervised
from poise.tasks.task import TASKS

METRICS = tuple(Metric(name, share=True) for name in ("mean_average_precision", "f1_micro", "f1_macro"))


def balanced(positives: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
    """``(n − n_c) / n_c`` for every class c that ``n_c`` of n images are of, so that these weigh as much as all others;
    1 where that is 0 or infinite."""
    found = zip(positives, others, strict=True)
    return tuple(rest / count if count and rest else 1.0 for count, rest in found)


@dataclass(frozen=True)
class BinaryCrossEntropy(Objective):
    """``−Σ_c (w_c·q_c·log p_c + (1 − q_c)·log(1 − p_c)) / K`` with ``p = sigmoid(outputs)`` and
    ``q = (1 − ε)·targets + ε/2``.

    Outputs are ``[n, K]``, targets ``[n, K]`` of 0 and 1. Measures ``mean_average_precision``, over the classes that
    occur, and ``f1_micro`` and ``f1_macro`` at a probability of 0.5.

    Args:
        names: of the K classes.
        label_smoothing: ε.
        positive_weights: ``w``, one per class; empty: all are 1.
    """

    names: tuple[str, ...]
    label_smoothing: float = 0.0
    positive_weights: tuple[float, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return METRICS

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        weights = constant(self.positive_weights, outputs.dtype, outputs.device) if self.positive_weights else None
        smooth = (1 - self.label_smoothing) * targets.to(outputs.dtype) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs, smooth, pos_weight=weights, reduction=reduction)

    def count(self, targets: Tensor) -> int:
        return targets.numel()

    def running(self) -> Meter:
        from torchmetrics.classification import MultilabelAveragePrecision

        precision = MultilabelAveragePrecision(len(self.names), average="none", validate_args=False)
        return TorchMeter({self.metric.name: precision}, _probabilities, _read)

    def meter(self) -> Meter:
        from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

        count = len(self.names)
        return TorchMeter(
            {
                self.metric.name: MultilabelAveragePrecision(count, average="none", validate_args=False),
                "f1_micro": MultilabelF1Score(count, average="micro", validate_args=False),
                "f1_macro": MultilabelF1Score(count, average="macro", validate_args=False),
            },
            _probabilities,
            _read,
        )

    def check(self, outputs: Any, targets: Tensor) -> None:
        if not isinstance(outputs, Tensor) or outputs.shape != targets.shape:
            raise Refused(f"expected logits {list(targets.shape)}, one per class")


def _probabilities(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    # torchmetrics would take logits for probabilities in every batch where all lie between 0 and 1.
    return precise(outputs).sigmoid(), targets.bool()


def _read(metrics: Mapping[str, Any]) -> dict[str, float]:
    precision, *others = metrics
    occurs = torch.cat(metrics[precision].target).any(dim=0).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that do not occur, whose precision is taken to be 0
        values = [number(value, precision) for value in metrics[precision].compute().reshape(-1)]
    found = {precision: mean(value for value, known in zip(values, occurs, strict=True) if known)}
    return found | {name: number(metrics[name].compute(), name) for name in others}


@TASKS.add("multilabel")
@dataclass(frozen=True)
class MultiLabel(Supervised):
    """A set of classes per input, by binary cross-entropy; measured by mean average precision.

    Args:
        columns: of a table, those of the classes, or the one of the sets; (): all that fit.
        positive_weights: ``balanced``: the inputs that are of a class weigh as much as those that are not, together.
    """

    columns: tuple[str, ...] = ()
    positive_weights: Literal["none", "balanced"] = "none"

    name: ClassVar[str] = "multilabel"
    pipelines: ClassVar[Mapping[str, str]] = {"images": "image-classification", "rows": "tabular-classification"}
    measures: ClassVar[tuple[Metric, ...]] = METRICS

    @property
    def labels(self) -> ClassSets:
        return ClassSets(self.columns)

    def objective(self, seen: Seen, label_smoothing: float = 0.0) -> BinaryCrossEntropy:
        counts = seen.statistics
        weights = balanced(counts["count"], counts["rest"]) if self.positive_weights == "balanced" else ()
        return BinaryCrossEntropy(seen.names, label_smoothing, weights)

    def predictions(self, outputs: Tensor, seen: Seen) -> list[Prediction]:
        """The ``classes`` whose probability is above ½, and the ``probabilities`` of all, by name."""
        return set_answers(outputs, seen.names)
