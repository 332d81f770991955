"""Classification: every input is of one of several classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.data.labels import ClassIds, Seen
from poise.engine.objective import CrossEntropy
from poise.engine.predict import Prediction
from poise.export.answers import class_answers
from poise.tasks.supervised import Supervised
from poise.tasks.task import TASKS


@TASKS.add("classification")
@dataclass(frozen=True)
class Classification(Supervised):
    """One class per input, by cross-entropy; measured by accuracy."""

    name: ClassVar[str] = "classification"

    @property
    def labels(self) -> ClassIds:
        return ClassIds()

    def objective(self, seen: Seen, label_smoothing: float = 0.0) -> CrossEntropy:
        return CrossEntropy(label_smoothing)

    def predictions(self, outputs: Tensor, seen: Seen) -> list[Prediction]:
        """The likeliest ``class``, its ``probability``, and the ``probabilities`` of all, by name."""
        return class_answers(outputs, seen.names)
