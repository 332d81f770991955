"""A penalty on what the network that comes out is expected to cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from poise.costs.costs import needed
from poise.errors import Refused
from poise.methods.slots import Relaxed, fills, never_trained
from poise.supernet.groups import ChoiceGroup


@fills("penalty")
@dataclass(frozen=True)
class ExpectedCost:
    """``weight · |E[cost] / target − 1|``: the expected cost of the retrained network is drawn to the target.

    ``E`` is linear in the share of each candidate in what will be kept, see `poise.costs.costs`; the gradient
    reaches every alpha. Both sides count: a network far below the target gives away what it could compute.

    Differs from ProxylessNAS, which adds ``λ·E[latency]``: there ``λ`` has to be searched for each target.

    Source: Cai et al., ProxylessNAS (arXiv:1812.00332), section 3.3, eqs. 2-3.

    The target is that of the search, ``search.target``.

    Args:
        weight: of the relative distance.
    """

    weight: float = 2.0
    kind: ClassVar[str] = "expected-cost"
    aims: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise Refused(f"the weight of the expected cost must be at least 0, got {self.weight}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """It acts on alphas, so these must be trained."""
        return never_trained(method, epochs, "the expected cost acts on")

    def __call__(self, relaxed: Relaxed) -> Tensor:
        aim = needed(relaxed.aim, self)
        distance = aim.costs.expected(relaxed.probabilities) / aim.target.value - 1
        return self.weight * distance.abs()

    def report(self, relaxed: Relaxed) -> Mapping[str, Any]:
        """``expected_cost``: its metric and value."""
        aim = needed(relaxed.aim, self)
        return {"expected_cost": {aim.target.metric: float(aim.costs.expected(relaxed.probabilities).detach())}}
