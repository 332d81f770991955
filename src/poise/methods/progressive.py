"""P-DARTS: a search in stages that approaches the depth of the network that will be built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from poise.errors import Refused
from poise.methods.slots import Progress, fills
from poise.supernet.groups import ChoiceGroup, Narrowing, searchable


@fills("curriculum")
@dataclass(frozen=True)
class Progressive:
    """P-DARTS: from stage to stage a deeper supernet of fewer candidates, with dropout on skip connections.

    Every stage is a search of its own: its weights, alphas and optimizers start anew, and all schedules run over the
    stage's epochs, ``T``. Between two stages every row keeps its candidates with the largest ``p``, of equal ones the
    later; ``none`` is one like any other. After the last stage the selection decides.

    In epoch ``t`` of a stage the output of a skip connection without parameters, entry by entry, is 0 with probability
    ``d_t`` and else divided by ``1 − d_t``; with ``w = round(warm_up·T)``, the epochs in which the alphas stand still,

        ``d_t = d·(T − t − 1)/T`` for ``t < w``;  ``d_t = d·exp(−decay·(t − w)/(T − w))`` from then on.

    Source: Chen, Xie, Wu, Tian: Progressive Differentiable Architecture Search (arXiv:1904.12760), section 3; how
    ``d_t`` falls is the released code's. Published: 3 stages of 25 epochs, of 5, 11 and 17 cells.

    Differs: the released code's command has 0.1 for the first rate; on CIFAR-100 the paper has 0.1, 0.2, 0.3. The fall,
    ``exp(−0.2·(t − w))``, is written as a share of the stage here, which is the same at 25 epochs. What an even
    division of the epochs leaves over goes to the first stages, an epoch each.

    Args:
        deeper: how many cells each stage's supernet has more than the space says; in NAS-Bench-201 per stage of the
            network.
        candidates: how many candidates each row has at most in each stage; the first stage must have them all.
        skip_rates: ``d`` of each stage.
        warm_up: the share of every stage's epochs, rounded, in which the alphas stand still; published 10 of 25.
        decay: how fast ``d_t`` falls; published 3.

    Raises:
        Refused: the lists have different lengths, or a value is out of its range.
    """

    deeper: tuple[int, ...] = (0, 6, 12)
    candidates: tuple[int, ...] = (8, 5, 3)
    skip_rates: tuple[float, ...] = (0.0, 0.4, 0.7)
    warm_up: float = 0.4
    decay: float = 3.0
    kind: ClassVar[str] = "progressive"

    def __post_init__(self) -> None:
        lengths = {len(self.deeper), len(self.candidates), len(self.skip_rates)}
        if len(lengths) != 1 or 0 in lengths:
            raise Refused(
                "a progressive curriculum has as many values of deeper as of candidates and of skip_rates, one per "
                f"stage; got {len(self.deeper)}, {len(self.candidates)} and {len(self.skip_rates)}"
            )
        if min(self.deeper) < 0:
            raise Refused(f"deeper counts the cells that a stage has more, so at least 0; got {list(self.deeper)}")
        if min(self.candidates) < 2 or list(self.candidates) != sorted(self.candidates, reverse=True):
            raise Refused(f"candidates never become more, and are at least 2; got {list(self.candidates)}")
        if not all(0 <= rate < 1 for rate in self.skip_rates):
            raise Refused(f"the skip_rates of a curriculum are at least 0 and below 1, got {list(self.skip_rates)}")
        if not 0 <= self.warm_up < 1:
            raise Refused(f"the warm_up of a stage is a share, at least 0 and below 1, got {self.warm_up}")
        if not 0 <= self.decay < float("inf"):
            raise Refused(f"the decay of the skip_rates is at least 0, got {self.decay}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """Every stage trains alphas for an epoch at least, and nothing tells what to drop before the first."""
        stages = self.stages(epochs)
        if any(self._warm(length) >= length for length in stages):
            return (
                f"{epochs} epochs in {len(stages)} stages, {self.warm_up:g} of each a warm-up, leave a stage no epoch "
                "for the alphas; search longer, or with a shorter warm_up"
            )
        for group in searchable(groups):
            if group.shape[1] > self.candidates[0]:
                return (
                    f"the first stage has at most {self.candidates[0]} candidates per row, but the rows of "
                    f"{group.name!r} have {group.shape[1]}, and nothing is known yet of which to drop"
                )
        return None

    def stages(self, epochs: int) -> tuple[int, ...]:
        """As equal as they can be; the first ones have one more where ``epochs`` cannot be divided."""
        least, more = divmod(epochs, len(self.deeper))
        return tuple(least + (stage < more) for stage in range(len(self.deeper)))

    def space(self, space: Any, stage: int) -> Any:
        """The space with more cells."""
        if not hasattr(space, "deeper"):
            raise Refused(
                f"curriculum={self.kind}: space {space.name!r} has no number of cells that stages could add to"
            )
        return space.deeper(self.deeper[stage])

    def keeps(self, probabilities: Mapping[str, Tensor], groups: Sequence[ChoiceGroup], stage: int) -> Narrowing:
        """The candidates of the largest ``p``, in the order that they had."""
        return {
            group.name: {
                row.name: tuple(row.candidates[index] for index in self._largest(values, stage))
                for row, values in zip(group.rows, probabilities[group.name].tolist(), strict=True)
            }
            for group in searchable(groups)
        }

    def _largest(self, values: list[float], stage: int) -> list[int]:
        # As in the released code the smallest go one by one, and of equal ones the first goes.
        dropped = sorted(range(len(values)), key=values.__getitem__)[: max(len(values) - self.candidates[stage], 0)]
        return [index for index in range(len(values)) if index not in dropped]

    def trains_alphas(self, progress: Progress) -> bool:
        """Once the stage's first epochs have passed."""
        return progress.epoch >= self._warm(progress.epochs)

    def skip_dropout(self, progress: Progress) -> float:
        """``d_t``."""
        rate, t, epochs = self.skip_rates[progress.stage], progress.epoch, progress.epochs
        warm = self._warm(epochs)
        if t < warm:
            return rate * (epochs - t - 1) / epochs
        return rate * math.exp(-self.decay * (t - warm) / (epochs - warm))

    def _warm(self, epochs: int) -> int:
        return round(self.warm_up * epochs)
