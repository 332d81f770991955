"""What a network's outputs are judged by. Everything that trains or measures a network is given one of these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

Reduction = Literal["mean", "sum"]


class Objective(Protocol):
    """Outputs come in a precision that is fit for a loss."""

    def loss(self, outputs: Any, targets: Any, reduction: Reduction = "mean") -> Tensor:
        """The scalar to descend: over what the batch predicts, the mean or the sum."""
        ...

    def hits(self, outputs: Any, targets: Any) -> Tensor:
        """Which predictions are right: ``[predictions]``, bool."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """``−Σ_k q_k log p_k`` with ``p = softmax(outputs)`` and ``q = (1 − ε)·onehot(target) + ε/K``.

    Outputs are ``[n, K]``, targets ``[n]`` int64; ``label_smoothing`` is ε. A hit is a target with the largest output.
    """

    label_smoothing: float = 0.0

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        return F.cross_entropy(outputs, targets, reduction=reduction, label_smoothing=self.label_smoothing)

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.detach().argmax(dim=1) == targets


CLASSES = CrossEntropy()
"""Of one class each, without smoothing: what everything is measured by, and trained by where nothing else is said."""


@torch.no_grad()
def measured(answers: Iterable[tuple[Any, Any]], objective: Objective = CLASSES) -> dict[str, float]:
    """``accuracy`` in [0, 1] and mean ``loss`` over all predictions of these batches of outputs and targets."""
    correct, loss, count = 0, 0.0, 0
    for outputs, targets in answers:
        loss += float(objective.loss(outputs, targets, "sum"))
        hits = objective.hits(outputs, targets)
        correct += int(hits.sum())
        count += len(hits)
    return {"accuracy": correct / count, "loss": loss / count}
