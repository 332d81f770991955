"""A penalty on what the network that comes out is expected to cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from poise.errors import Refused
from poise.methods.slots import Relaxed, fills
from poise.supernet.costs import Costs, CostsOf, CostTarget
from poise.supernet.groups import ChoiceGroup


@fills("penalty")
@dataclass(frozen=True)
class ExpectedCost:
    """``weight · |E[cost] / target − 1|``: the expected cost of the retrained network is drawn to the target.

    ``E`` is linear in the share of each candidate in what will be kept, see `poise.supernet.costs`; the gradient
    reaches every alpha. Both sides count: a network far below the target gives away what it could compute.

    Differs from ProxylessNAS, which adds ``λ·E[latency]``: there ``λ`` has to be searched for each target.

    Source: Cai et al., ProxylessNAS (arXiv:1812.00332), section 3.3, eqs. 2-3.

    Args:
        target: multiply-adds, parameters, or seconds.
        metric: ``macs``, ``parameters`` or ``latency``.
        weight: of the relative distance.
        table: the file of `poise measure-latency`, for ``latency``.
    """

    target: float
    metric: str = "macs"
    weight: float = 2.0
    table: str | None = None
    kind: ClassVar[str] = "expected-cost"

    def __post_init__(self) -> None:
        CostTarget(self.metric, self.target, self.table)
        if not 0 <= self.weight < float("inf"):
            raise Refused(f"the weight of the expected cost must be at least 0, got {self.weight}")

    @property
    def cost_target(self) -> CostTarget:
        """The target with its metric."""
        return CostTarget(self.metric, self.target, self.table)

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """It acts on alphas, so these must be trained."""
        if method.trains_alphas(epochs):
            return None
        return "the expected cost acts on alphas, which this method never trains"

    def bound(self, costs: CostsOf) -> KnownCost:
        """The penalty for networks of these costs. Raises `Refused` if none of them meets the target."""
        found = costs(self.cost_target)
        found.check(self.target)
        return KnownCost(self, found)

    def __call__(self, relaxed: Relaxed) -> Tensor:
        raise Refused("the expected cost does not know what networks cost; bind the method first: method.bound(costs)")


@dataclass(frozen=True)
class KnownCost:
    """An `ExpectedCost` that knows the costs."""

    penalty: ExpectedCost
    costs: Costs
    kind: ClassVar[str] = ExpectedCost.kind

    @property
    def cost_target(self) -> CostTarget:
        """The target with its metric."""
        return self.penalty.cost_target

    def bound(self, costs: CostsOf) -> KnownCost:
        """The same for other costs."""
        return self.penalty.bound(costs)

    def __call__(self, relaxed: Relaxed) -> Tensor:
        distance = self.costs.expected(relaxed.probabilities) / self.penalty.target - 1
        return self.penalty.weight * distance.abs()

    def report(self, relaxed: Relaxed) -> Mapping[str, Any]:
        """``expected_cost``: its metric and value."""
        return {"expected_cost": {self.penalty.metric: float(self.costs.expected(relaxed.probabilities).detach())}}
