"""`Method`: a value made of slots. Its defaults are first-order DARTS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from torch import Tensor

from poise.errors import Refused
from poise.methods.alignment import NoAlignment
from poise.methods.averaging import LastEpoch
from poise.methods.connections import FullConnections
from poise.methods.curriculum import NoCurriculum
from poise.methods.guard import SkipGuard
from poise.methods.hypergradient import FirstOrder
from poise.methods.penalty import NoPenalty
from poise.methods.perturbation import NoPerturbation
from poise.methods.relaxation import Softmax
from poise.methods.slots import (
    Alignment,
    Averaging,
    Connections,
    Curriculum,
    Guard,
    HasConflict,
    Hypergradient,
    Penalty,
    Perturbation,
    Progress,
    Relaxation,
)
from poise.selection.magnitude import Magnitude
from poise.selection.rule import Selection
from poise.supernet.groups import ChoiceGroup, Narrowing
from poise.supernet.narrowing import narrowed, without


@dataclass(frozen=True)
class Method:
    """How a supernet is searched; every field is a slot, and any sensible combination runs.

    Args:
        relaxation: ``alphas -> mixture``.
        perturbation: ``mixture -> mixture`` in the weight step.
        alignment: corrects the weight gradient.
        penalty: ``alphas -> scalar``, added to the search loss.
        hypergradient: how the search loss reaches the alphas.
        selection: ``trained supernet -> genotype``.
        curriculum: what changes while the search goes on.
        guard: ``records of the epochs -> which epoch counts``, and whether to stop.
        averaging: ``records of the epochs that count -> alphas`` for the selection.
        connections: ``space -> space`` with its supernet in another form.
        without: candidates that the method leaves out of the groups that have them.

    Examples:
        >>> from dataclasses import replace
        >>> from poise.methods import sdarts_rs, zero_one
        >>> replace(sdarts_rs(), penalty=zero_one(10)).penalty.weight
        10
    """

    relaxation: Relaxation = Softmax()
    perturbation: Perturbation = NoPerturbation()
    alignment: Alignment = NoAlignment()
    penalty: Penalty = NoPenalty()
    hypergradient: Hypergradient = FirstOrder()
    selection: Selection = Magnitude()
    curriculum: Curriculum = NoCurriculum()
    guard: Guard = SkipGuard()
    averaging: Averaging = LastEpoch()
    connections: Connections = FullConnections()
    without: tuple[str, ...] = ()

    def trains_alphas(self, epochs: int) -> bool:
        """Whether any of ``epochs`` epochs trains the alphas."""
        return any(
            self.curriculum.trains_alphas(Progress(epoch, length, stage))
            for stage, length in enumerate(self.curriculum.stages(epochs))
            for epoch in range(length)
        )

    def outcome(self, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Tensor]:
        """The alphas that the selection gets if the search ends after these epochs of its last stage,
        group -> ``[rows, candidates]``."""
        return self.averaging(history[: self.guard(history).keep + 1])

    def searched(
        self, space: Any, stage: int = 0, narrowing: Narrowing = MappingProxyType({})
    ) -> tuple[Any, tuple[ChoiceGroup, ...]]:
        """The space as a stage of this method searches it, and what is left of its groups, where an earlier stage left
        ``narrowing``. Raises `Refused` where it cannot."""
        found = self.curriculum.space(self.connections(space), stage)
        return found, narrowed(without(found.groups, self.without), narrowing)

    def check(self, groups: Sequence[ChoiceGroup], epochs: int) -> None:
        """Raise `Refused`, with the reason, if the slots make no sense together or on these groups."""
        # The curriculum first: it decides whether alphas are trained, which others rely on.
        for name in ("curriculum", *(field.name for field in fields(self))):
            slot = getattr(self, name)
            reason = slot.conflict(self, groups, epochs) if isinstance(slot, HasConflict) else None
            if reason:
                raise Refused(f"{name}={slot.kind}: {reason}")
