"""The loss of one batch as a function of mixture and weights: what every slot of a method is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from poise.engine.device import Place
from poise.engine.objective import CLASSES, Meter, Objective, mean_loss
from poise.engine.streams import handed
from poise.methods.slots import Loss
from poise.supernet.draws import Draws
from poise.supernet.groups import Mixture
from poise.supernet.inputs import Answer, Carries
from poise.supernet.trees import count_of, mapped
from poise.supernet.untracked import untracked


@dataclass(eq=False)
class BatchLoss:
    """The objective of a supernet on one batch. Satisfies `poise.methods.slots.Loss`.

    Of several processes each has its rows of the ``inputs``, and all have all ``targets``: values and gradients are
    those of the whole batch, in every one. No slot has to know.

    Every call sees the same random numbers (dropout, noise), so the same arguments give the same number: ``draws``, or
    where the supernet does not take them what torch's own generators give from their seed on. Only a call
    with ``track`` updates running statistics, see `untracked`.

    ``skip_dropout`` is the rate of dropout on skip connections in training mode; above 0 the supernet must know of it.

    The call that counts is the tracked one, or else the first. It leaves ``outputs``, without gradient, and ``plain``,
    its loss without the regularisers that a supernet may add.
    """

    supernet: nn.Module
    inputs: Any
    targets: Any
    draws: Draws
    place: Place
    skip_dropout: float = 0.0
    objective: Objective = CLASSES
    outputs: Any = field(default=None, init=False)
    plain: Tensor | None = field(default=None, init=False)
    _state: Tensor | None = field(default=None, init=False)

    def count(self, meter: Meter) -> None:
        """Add the outputs of the call that counts to a meter."""
        meter.update(self.outputs, self.targets)

    def carry(self) -> None:
        """Let the supernet's next batch of this stream go on from where the call that counts ended."""
        if self._state is not None and isinstance(self.supernet, Carries):
            self.supernet.carry(self.inputs, self._state)

    def __call__(
        self,
        mixture: Mixture,
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        full_precision: bool = False,
    ) -> Tensor:
        processes = self.place.processes
        if not processes.alone:
            weights = processes.shared({**dict(self.supernet.named_parameters()), **(weights or {})})
        answer = self._answer(processes.shared(mixture), weights or {}, track, full_precision)
        outputs = self.place.float(answer.outputs)
        loss = mean_loss(self.objective, outputs, self.targets, processes)
        if track or self.outputs is None:
            self.outputs = processes.gathered(mapped(Tensor.detach, outputs), count_of(self.targets))
            self.plain = loss.detach()
            self._state = answer.state
        if answer.extra is None:
            return loss
        return loss + processes.whole(self.place.float(answer.extra) / processes.count)

    def evaluation(self, mixture: Mixture) -> Tensor:
        self.supernet.eval()
        try:
            constants = {name: weight.detach() for name, weight in self.supernet.named_parameters()}
            processes = self.place.processes
            outputs = self._answer(processes.shared(mixture), constants, track=True).outputs
            return mean_loss(self.objective, self.place.float(outputs), self.targets, processes)
        finally:
            self.supernet.train()

    def _answer(
        self, mixture: Mixture, weights: Mapping[str, Tensor], track: bool, full_precision: bool = False
    ) -> Answer:
        # A supernet need not know of dropout to be searched without any.
        more = {"skip_dropout": self.skip_dropout} if self.skip_dropout else {}
        chance, drawn = handed(
            self.supernet, self.draws, self.place.device, self.place.processes, count_of(self.targets)
        )
        buffers: AbstractContextManager[dict[str, Tensor]] = nullcontext({}) if track else untracked(self.supernet)
        precision = nullcontext() if full_precision else self.place.autocast()
        with buffers as copies, precision, chance:
            if weights or copies:
                found: Any = functional_call(self.supernet, {**weights, **copies}, (self.inputs, mixture), more | drawn)
            else:
                found = self.supernet(self.inputs, mixture, **more, **drawn)
        return found if isinstance(found, Answer) else Answer(found)


@dataclass(frozen=True)
class ChangedLoss:
    """A loss of mixtures before a change: of a part that others complete, or before a selection's edits."""

    loss: Loss
    change: Callable[[Mixture], Mixture]

    def __call__(
        self,
        mixture: Mixture,
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        full_precision: bool = False,
    ) -> Tensor:
        return self.loss(self.change(mixture), weights, track=track, full_precision=full_precision)

    def evaluation(self, mixture: Mixture) -> Tensor:
        return self.loss.evaluation(self.change(mixture))
