"""Guards: they watch a search for signs of collapse, and say which epoch's alphas to keep.

A search collapses when its alphas drift to architectures without weights, skip connections above all, although its own
losses look well. Guards go by the records of the epochs alone: nothing that needs ground truth. One that needs a
diagnostic in them says so by an attribute ``diagnostics``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, ClassVar, Literal

from poise.errors import Refused
from poise.methods.slots import Verdict, fills

Action = Literal["warn", "keep", "stop"]
ACTIONS = ("warn", "keep", "stop")
ADVICE = "try --set guard.action=keep, or a method that does not collapse (docs/results.md)"


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
        _check_action(self.action)

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Verdict:
        well = [(record.get("skip_share") or 0.0) <= self.limit for record in history]
        last = len(history) - 1
        if all(well):
            return Verdict(last)
        fired = well.index(False)
        share, epoch = history[fired]["skip_share"], history[fired].get("epoch", fired) + 1
        return _verdict(
            self.action, last, next((number for number in range(last, -1, -1) if well[number]), 0),
            f"after epoch {epoch} skip connections lead {share:.0%} of the choices (limit: {self.limit:.0%})",
        )  # fmt: skip


@fills("guard")
@dataclass(frozen=True)
class EigenvalueGuard:
    """Fires once the dominant eigenvalue of the alphas' Hessian has grown too fast: ``λ̄_{t−window} / λ̄_t < ratio``.

    ``λ̄_t`` is the mean over the last ``window`` epochs. Robust DARTS's early stopping (Zela et al.: Understanding and
    Robustifying Differentiable Architecture Search, ICLR 2020, arXiv:1909.09656, section 4.3), which returns epoch
    ``t − window``. Needs ``search.diagnostics=[eigenvalue]``.

    Args:
        window: in epochs; published 5.
        ratio: published 0.75.
        action: as of `SkipGuard`; ``keep`` and ``stop`` let epoch ``t − window`` count.
    """

    window: int = 5
    ratio: float = 0.75
    action: Action = "warn"
    kind: ClassVar[str] = "eigenvalue"
    diagnostics: ClassVar[tuple[str, ...]] = ("eigenvalue",)

    def __post_init__(self) -> None:
        if self.window < 1:
            raise Refused(f"the window of the eigenvalue guard is at least 1 epoch, got {self.window}")
        if not 0 < self.ratio < 1:
            raise Refused(f"the ratio of the eigenvalue guard lies between 0 and 1, got {self.ratio}")
        _check_action(self.action)

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Verdict:
        values = [float(record["eigenvalue"]) for record in history]
        smooth = [mean(values[max(0, t - self.window + 1) : t + 1]) for t in range(len(values))]
        last = len(history) - 1
        for t in range(self.window, len(smooth)):
            before = smooth[t - self.window]
            if before < self.ratio * smooth[t]:
                epoch = history[t].get("epoch", t) + 1
                return _verdict(
                    self.action, last, t - self.window,
                    f"within {self.window} epochs, up to epoch {epoch}, the dominant eigenvalue of the alphas' Hessian "
                    f"has grown from {before:.3g} to {smooth[t]:.3g} (mean of {self.window} epochs)",
                )  # fmt: skip
        return Verdict(last)


def _check_action(action: str) -> None:
    if action not in ACTIONS:
        raise Refused(f"the action of a guard is {', '.join(ACTIONS)}, got {action!r}")


def _verdict(action: Action, last: int, good: int, sign: str) -> Verdict:
    """What a guard that fired says: ``good`` is the epoch to keep, if it is to keep one."""
    warning = f"the search may be collapsing: {sign}"
    if action == "warn":
        return Verdict(last, warning=f"{warning}; {ADVICE}")
    return Verdict(good, action == "stop", warning)
