"""Metrics of predicted classes, from whole numbers that are exact however many batches there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """Whole numbers, one per class.

    Args:
        hits: how often it was there and predicted.
        predicted: how often it was predicted.
        there: how often it was there.
        near: how often it was there and among the likeliest ones; empty if that was not asked.
    """

    hits: list[int]
    predicted: list[int]
    there: list[int]
    near: list[int]

    @property
    def recalls(self) -> dict[int, float]:
        """Of each class that was there the share that was hit."""
        found = enumerate(zip(self.hits, self.there, strict=True))
        return {index: hits / there for index, (hits, there) in found if there}

    @property
    def overlaps(self) -> dict[int, float]:
        """Of each class that was there or predicted ``intersection / union = hits / (predicted + there − hits)``."""
        found = zip(self.hits, self.predicted, self.there, strict=True)
        unions = ((hits, predicted + there - hits) for hits, predicted, there in found)
        return {index: hits / union for index, (hits, union) in enumerate(unions) if union}


Read = Callable[[Counts], dict[str, float]]
"""Counts -> metrics by name."""


@dataclass(eq=False)
class ClassCounts:
    """Counts classes, of which the one with the largest output is predicted. Satisfies
    `poise.engine.objective.Meter`.

    Outputs are ``[n, classes, ...]``, targets ``[n, ...]`` int64. Nothing waits for the device; in torchmetrics the
    counting does, at every batch.

    Args:
        classes: how many there are.
        read: what the counts come to.
        ignore: targets of this value do not count.
        top: also count the targets that are among the so many likeliest classes.
    """

    classes: int
    read: Read
    ignore: int | None = None
    top: int | None = None
    _counts: Tensor | None = field(default=None, init=False)

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        predicted, aside = outputs.argmax(dim=1), self.classes
        valid = torch.ones_like(targets, dtype=torch.bool) if self.ignore is None else targets != self.ignore
        # What does not count is counted as a class of its own: to leave it out would wait for the device.
        found = [
            targets.where(valid & (predicted == targets), aside),
            predicted.where(valid, aside),
            targets.where(valid, aside),
        ]
        if self.top is not None:
            likeliest = outputs.topk(self.top, dim=1).indices
            found.append(targets.where(valid & (likeliest == targets.unsqueeze(1)).any(dim=1), aside))
        index = torch.stack(found).flatten(1)
        counts = index.new_zeros(len(found), aside + 1).scatter_add_(1, index, torch.ones_like(index))
        self._counts = counts if self._counts is None else self._counts.to(counts.device) + counts

    def compute(self) -> dict[str, float]:
        if self._counts is None:
            return {}
        hits, predicted, there, *near = self._counts[:, : self.classes].tolist()
        return self.read(Counts(hits, predicted, there, near[0] if near else []))

    def state(self) -> dict[str, Any]:
        return {} if self._counts is None else {"counts": self._counts}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._counts = state.get("counts")


def mean(values: Iterable[float]) -> float:
    """The mean; of nothing 0."""
    found = list(values)
    return sum(found) / len(found) if found else 0.0
