"""Curricula: what changes while a search goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from poise.errors import Refused
from poise.methods.slots import OneStage, Progress, fills
from poise.supernet.groups import ChoiceGroup


@fills("curriculum")
@dataclass(frozen=True)
class NoCurriculum(OneStage):
    """Every epoch trains alphas and weights."""

    kind: ClassVar[str] = "none"

    def trains_alphas(self, progress: Progress) -> bool:
        """Always."""
        return True


@fills("curriculum")
@dataclass(frozen=True)
class WarmUp(OneStage):
    """The alphas stand still for the first ``share`` of the epochs, rounded (PC-DARTS, arXiv:1907.05737, section 3.3:
    15 of 50)."""

    share: float = 0.3
    kind: ClassVar[str] = "warm-up"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise Refused(f"the share of a warm-up lies between 0 and 1, got {self.share}")

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """Some epochs must be left for the alphas."""
        if round(self.share * epochs) < epochs:
            return None
        return (
            f"a warm-up of {self.share:g} leaves none of the {epochs} epochs for the alphas; "
            "use curriculum=blank to never train them"
        )

    def trains_alphas(self, progress: Progress) -> bool:
        """Once the first epochs have passed."""
        return progress.epoch >= round(self.share * progress.epochs)


@fills("curriculum")
@dataclass(frozen=True)
class Blank(OneStage):
    """The alphas are never trained: a "blank" supernet for selection by perturbation (DARTS-PT, arXiv:2108.04392,
    section 5.2)."""

    kind: ClassVar[str] = "blank"

    def trains_alphas(self, progress: Progress) -> bool:
        """Never."""
        return False
