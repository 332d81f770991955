"""What a network should cost: a value that settings hold, known before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from poise.errors import Refused, unknown

METRICS: Mapping[str, str] = {
    "macs": "multiply-adds of one image",
    "parameters": "parameters",
    "latency": "seconds for one image",
}
"""What can be counted, and its unit."""


def readable(metric: str, value: float) -> str:
    """``301.2M`` multiply-adds or parameters, ``8.03 ms``."""
    if metric == "latency":
        return f"{1e3 * value:.3g} ms"
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.4g}{unit}"
    return f"{value:.0f}"


@dataclass(frozen=True)
class CostTarget:
    """What the network that a search finds should cost.

    Args:
        metric: ``macs``, ``parameters`` or ``latency``.
        value: the target: multiply-adds, parameters, or seconds.
        table: the file of `poise measure-latency`, for ``latency``.
    """

    metric: str
    value: float
    table: str | None = None
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise unknown("metric of a cost", self.metric, METRICS)
        if not 0 < self.value < float("inf"):
            raise Refused(f"the target of a cost must be above 0, got {self.value}")
        if self.metric == "latency" and self.table is None:
            raise Refused("a target of latency needs a table of it; write one with: poise measure-latency")
        if self.metric != "latency" and self.table is not None:
            raise Refused(f"{self.metric} are counted; a latency table goes with a target of latency")
