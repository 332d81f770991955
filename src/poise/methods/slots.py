"""The slots that a method is made of: their protocols, and the registries of what can fill them.

A slot's value is a frozen dataclass with a class attribute ``kind``, its name in configurations; `fills` registers it.
The search loop knows these protocols only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from poise import registries
from poise.costs.costs import Aim
from poise.registry import C, Registry
from poise.supernet.draws import Chance
from poise.supernet.groups import ChoiceGroup, Mixture, Narrowing, searchable

SLOTS: dict[str, Registry[type]] = registries.SLOTS
"""Slot -> kind -> class."""


def fills(slot: str) -> Callable[[C], C]:
    """Register a class, under its ``kind``, as something that can fill ``slot``."""
    return SLOTS[slot].by_kind()


@dataclass(frozen=True)
class Progress:
    """Where a search stands: ``epoch`` (0-based) of the ``epochs`` of a ``stage`` (0-based). Every stage is a search of
    its own, in which schedules begin anew."""

    epoch: int
    epochs: int
    stage: int = 0


@dataclass(frozen=True)
class Descent:
    """The state of the SGD that trains the weights, all that an unrolled step needs to know.

    ``d = g + weight_decay·w``; ``buf' = momentum·buf + d``; ``w' = w − learning_rate·(d + momentum·buf' if nesterov
    else buf')``.

    Args:
        learning_rate: a number, or a scalar where the weights lie.
        buffers: ``buf`` of every weight; empty if there are none yet, or never.
    """

    learning_rate: float | Tensor
    momentum: float
    weight_decay: float
    nesterov: bool
    buffers: Mapping[str, Tensor]


class Loss(Protocol):
    """The mean loss of one batch. Called twice within a step with the same arguments it returns the same number."""

    def __call__(
        self,
        mixture: Mixture,
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        full_precision: bool = False,
    ) -> Tensor:
        """The loss in training mode (batch statistics), with the supernet's own weights or those given.

        Running statistics are updated only if ``track``: a step's one pass that counts, not its auxiliary ones.
        ``full_precision`` forgoes reduced precision: for passes whose small difference is what counts.
        """
        ...

    def evaluation(self, mixture: Mixture) -> Tensor:
        """The loss in evaluation mode (running statistics); nothing is updated."""
        ...


class Relaxation(Protocol):
    """``alphas -> mixture``, row by row; all tensors are ``[..., rows, candidates]``."""

    def initial(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """The alphas that a search starts from."""
        ...

    def __call__(self, alphas: Tensor) -> Tensor:
        """The relaxed alphas ``p``."""
        ...

    def renormalise(self, values: Tensor) -> Tensor:
        """Clamp any values into the set of mixtures, and divide by the row's sum where rows sum to 1."""
        ...

    def project(self, values: Tensor, centre: Tensor, radius: float) -> Tensor:
        """The nearest mixture within ``radius`` (max norm) of the mixture ``centre``."""
        ...


class Perturbation(Protocol):
    """``mixture -> mixture`` for the weight step alone; the alphas and their step never see it."""

    def __call__(
        self, mixture: Mixture, loss: Loss, relaxation: Relaxation, progress: Progress, draws: Chance
    ) -> Mixture:
        """``draws`` hands out random numbers where the mixture is."""
        ...


@dataclass(frozen=True)
class WeightGradient:
    """What a weight step needs: the loss, the gradient of every weight, and the layers' own gradients where they are
    known.

    ``layers``: group -> ``[layers, rows, candidates]``, ``∂L_tr/∂p_l``; empty if it was not computed.
    """

    loss: Tensor
    weights: Mapping[str, Tensor]
    layers: Mapping[str, Tensor]


class Alignment(Protocol):
    """The gradient of the weights, corrected or not."""

    def __call__(
        self,
        loss: Loss,
        mixture: Mixture,
        weights: Mapping[str, Tensor],
        groups: Sequence[ChoiceGroup],
        progress: Progress,
    ) -> WeightGradient: ...


@dataclass(frozen=True)
class Relaxed:
    """Where the alphas of a search stand, as a penalty sees them: of the groups that genotypes decide.

    ``alphas``: group -> ``α [rows, candidates]``; ``probabilities``: group -> ``p``, what the relaxation, and a
    selection that is tuning, make of them; ``aim``: what the network should cost and what networks do, if
    the search has a target. A penalty that goes by it says so by an attribute ``aims = True``.
    """

    alphas: Mapping[str, Tensor]
    probabilities: Mapping[str, Tensor]
    progress: Progress
    aim: Aim | None = None

    @staticmethod
    def of(
        groups: Sequence[ChoiceGroup],
        alphas: Mapping[str, Tensor],
        probabilities: Mapping[str, Tensor],
        progress: Progress,
        aim: Aim | None = None,
    ) -> Relaxed:
        """Those of the groups that genotypes decide."""
        names = [group.name for group in searchable(groups)]
        alphas, probabilities = ({name: values[name] for name in names} for values in (alphas, probabilities))
        return Relaxed(alphas, probabilities, progress, aim)


class Penalty(Protocol):
    """``alphas and what they are relaxed to, progress, costs -> scalar``, added to the search loss."""

    def __call__(self, relaxed: Relaxed) -> Tensor: ...


@runtime_checkable
class Reports(Protocol):
    """A penalty that has more to tell than its value, for the record of every epoch."""

    def report(self, relaxed: Relaxed) -> Mapping[str, Any]:
        """Entries of the record."""
        ...


@dataclass(frozen=True)
class MixtureGradient:
    """The search loss and its gradient with respect to every layer's mixture, ``[layers, rows, candidates]``."""

    loss: Tensor
    layers: Mapping[str, Tensor]


class Hypergradient(Protocol):
    """How the search loss reaches the alphas: its gradient with respect to the mixture."""

    def __call__(
        self, search: Loss, training: Loss, mixture: Mixture, weights: Mapping[str, Tensor], descent: Descent
    ) -> MixtureGradient: ...


class Curriculum(Protocol):
    """What changes while a search goes on."""

    def stages(self, epochs: int) -> tuple[int, ...]:
        """The epochs of every stage. A stage has a supernet, alphas and optimizers of its own."""
        ...

    def space(self, space: Any, stage: int) -> Any:
        """The space in the size that a stage searches. Raises `Refused` where it has no such size."""
        ...

    def keeps(self, probabilities: Mapping[str, Tensor], groups: Sequence[ChoiceGroup], stage: int) -> Narrowing:
        """What is left for ``stage`` by the relaxed alphas, ``[rows, candidates]``, of the stage before it."""
        ...

    def trains_alphas(self, progress: Progress) -> bool:
        """Whether the alphas move in this epoch."""
        ...

    def skip_dropout(self, progress: Progress) -> float:
        """The rate of dropout on the supernet's parameter-free skip connections in this epoch."""
        ...


class OneStage:
    """The part of a `Curriculum` that is the same for all that search one space from beginning to end."""

    def stages(self, epochs: int) -> tuple[int, ...]:
        """One."""
        return (epochs,)

    def space(self, space: Any, stage: int) -> Any:
        """The space as it is."""
        return space

    def keeps(self, probabilities: Mapping[str, Tensor], groups: Sequence[ChoiceGroup], stage: int) -> Narrowing:
        """Everything."""
        return {}

    def skip_dropout(self, progress: Progress) -> float:
        """None."""
        return 0.0


@dataclass(frozen=True)
class Verdict:
    """What a guard makes of the epochs so far.

    ``keep``: the epoch whose alphas the selection gets if the search ends now; ``stop``: whether it should;
    ``warning``: what the person who waits should know.
    """

    keep: int
    stop: bool = False
    warning: str | None = None


class Guard(Protocol):
    """Watches over a search: ``records of the epochs so far -> verdict``. It is asked after every epoch."""

    kind: ClassVar[str]

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Verdict: ...


class Connections(Protocol):
    """What form a space's supernet has: ``space -> space``."""

    def __call__(self, space: Any) -> Any:
        """The space with a supernet of this form. Raises `Refused` where the space has none."""
        ...


class Averaging(Protocol):
    """Which alphas the selection gets: ``records of the epochs that count -> group -> [rows, candidates]``."""

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Tensor]: ...


def never_trained(method: Any, epochs: int, what: str) -> str | None:
    """The conflict of a value that needs alphas that are trained, and ``what`` it is: ``the zero-one loss acts on``."""
    return None if method.trains_alphas(epochs) else f"{what} alphas, which this method never trains"


@runtime_checkable
class HasConflict(Protocol):
    """A slot's value that does not go with everything says so before any data is read."""

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        """Why this value makes no sense in this method on these groups; None if it does."""
        ...
