"""Which alphas a search hands to its selection: those of the last epoch, or a mean over the last epochs.

The last epochs of a search swap candidates that are close: its step size does not fade, and each epoch's alphas are one
noisy sample around where the search stands. Their mean is steadier than any of them (Polyak, Juditsky: Acceleration of
stochastic approximation by averaging, 1992). It costs nothing: the records of the epochs hold the alphas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from poise.errors import Refused
from poise.methods.slots import fills


@fills("averaging")
@dataclass(frozen=True)
class LastEpoch:
    """The alphas as the last epoch left them."""

    kind: ClassVar[str] = "none"

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Tensor]:
        return _mean(history[-1:])


@fills("averaging")
@dataclass(frozen=True)
class TailAverage:
    """The mean of the alphas after each of the last ``⌈share·T⌉`` of ``T`` epochs.

    No paper's: poise's own, see docs/results.md.

    Args:
        share: of the epochs, above 0, at most 1.
    """

    share: float = 0.5
    kind: ClassVar[str] = "tail"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise Refused(f"the share of the tail average lies above 0 and is at most 1, got {self.share}")

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Tensor]:
        # 0.1·10 epochs is one epoch, whatever the last bit of the product says.
        return _mean(history[-math.ceil(round(self.share * len(history), 9)) :])


def _mean(records: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """In double precision: one epoch's alphas come back to the last bit."""
    return {
        name: torch.tensor([record["alphas"][name] for record in records], dtype=torch.float64).mean(dim=0)
        for name in records[-1]["alphas"]
    }
