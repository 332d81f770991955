"""Guards: they watch a search for signs of collapse, and say which epoch's alphas to keep.

A search collapses when its alphas drift to architectures without weights, skip connections above all, although its own
losses look well. Guards go by the records of the epochs alone: nothing that needs ground truth or costs time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from poise.errors import Refused
from poise.methods.slots import Verdict, fills

Action = Literal["warn", "keep", "stop"]
ACTIONS = ("warn", "keep", "stop")


@fills("guard")
@dataclass(frozen=True)
class NoGuard:
    """Nothing is watched: the last epoch counts."""

    kind: ClassVar[str] = "none"

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Verdict:
        return Verdict(len(history) - 1)


@fills("guard")
@dataclass(frozen=True)
class SkipGuard:
    """Fires once the share of choices whose largest weight is a skip connection's is above ``limit``.

    Robust DARTS's and DARTS+'s sign of collapse (arXiv:1909.09656, arXiv:1909.06035), read off the alphas.

    Args:
        limit: the largest share that is still well.
        action: ``warn``: say so, once. ``keep``: also let the last epoch count in which all was well. ``stop``: also
            end the search.
    """

    limit: float = 0.5
    action: Action = "warn"
    kind: ClassVar[str] = "skips"

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 1:
            raise Refused(f"the limit of the skip guard is a share, from 0 to 1, got {self.limit}")
        if self.action not in ACTIONS:
            raise Refused(f"the action of a guard is {', '.join(ACTIONS)}, got {self.action!r}")

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Verdict:
        well = [(record.get("skip_share") or 0.0) <= self.limit for record in history]
        last = len(history) - 1
        if all(well):
            return Verdict(last)
        fired = well.index(False)
        share = history[fired]["skip_share"]
        advice = "; try --set guard.action=keep, or a method that does not collapse" if self.action == "warn" else ""
        warning = (
            f"the search may be collapsing: after epoch {fired + 1} skip connections lead {share:.0%} of the choices "
            f"(limit: {self.limit:.0%}){advice}"
        )
        if self.action == "warn":
            return Verdict(last, warning=warning)
        good = [number for number, fine in enumerate(well) if fine]
        return Verdict(good[-1] if good else 0, self.action == "stop", warning)
