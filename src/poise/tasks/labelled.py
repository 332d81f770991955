"""What a task from inputs to labels says of itself, and nobody else has to know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from poise.data.labels import Labels, Seen
from poise.engine.objective import Metric, Objective
from poise.engine.predict import Prediction


@dataclass(frozen=True)
class Labelled(ABC):
    """What its labels are, what the network puts out for them, and what that is judged by."""

    name: ClassVar[str]
    named: ClassVar[str] = "classes"
    """What the names of its labels are names of."""
    pipelines: ClassVar[Mapping[str, str]] = {}
    """What the Hugging Face Hub calls it, for ``images`` and for ``rows`` of numbers."""
    dense: ClassVar[bool] = False
    """Whether the network puts out something for every pixel."""

    @property
    def measures(self) -> tuple[Metric, ...]:
        """What it measures, as its objective says; empty: that is known once the data is."""
        return ()

    @property
    @abstractmethod
    def labels(self) -> Labels:
        """How the labels of the data are read."""

    @abstractmethod
    def objective(self, seen: Seen, label_smoothing: float = 0.0) -> Objective:
        """What outputs are trained and measured by, for labels such as were ``seen`` in the training split."""

    @abstractmethod
    def predictions(self, outputs: Tensor, seen: Seen) -> list[Prediction]:
        """What finished outputs say, one for each input."""

    def outputs(self, seen: Seen) -> int:
        """How many numbers the network puts out for each input (each pixel, where it is dense)."""
        return len(seen.names)

    def finish(self, seen: Seen) -> nn.Module | None:
        """What turns the network's outputs into what a person gets; None: nothing."""
        return None
