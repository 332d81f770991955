"""The loss of one batch as a function of mixture and weights: what every slot of a method is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from poise.engine.device import Place
from poise.engine.objective import CLASSES, Meter, Objective
from poise.engine.streams import seeded
from poise.methods.slots import Loss
from poise.supernet.groups import Mixture
from poise.supernet.inputs import Answer, Carries
from poise.supernet.trees import mapped


class BatchLoss:
    """The objective of a supernet on one batch. Satisfies `poise.methods.slots.Loss`.

    Every call draws the same random numbers (dropout, noise), so the same arguments give the same number. Only a call
    with ``track`` updates running statistics: all others work on copies of the buffers.

    ``skip_dropout`` is the rate of dropout on skip connections in training mode; above 0 the supernet must know of it.

    The call that counts is the tracked one, or else the first. It leaves ``outputs``, without gradient, and ``plain``,
    its loss without the regularisers that a supernet may add.
    """

    def __init__(
        self,
        supernet: nn.Module,
        inputs: Any,
        targets: Any,
        seed: int,
        place: Place,
        skip_dropout: float = 0.0,
        objective: Objective = CLASSES,
    ) -> None:
        self._supernet = supernet
        # A supernet need not know of dropout to be searched without any.
        self._more = {"skip_dropout": skip_dropout} if skip_dropout else {}
        self._inputs = inputs
        self.targets = targets
        self._seed = seed
        self._place = place
        self._objective = objective
        self._state: Tensor | None = None
        self.outputs: Any = None
        self.plain: Tensor | None = None

    def count(self, meter: Meter) -> None:
        """Add the outputs of the call that counts to a meter."""
        meter.update(self.outputs, self.targets)

    def carry(self) -> None:
        """Let the supernet's next batch of this stream go on from where the call that counts ended."""
        if self._state is not None and isinstance(self._supernet, Carries):
            self._supernet.carry(self._inputs, self._state)

    def __call__(
        self,
        mixture: Mixture,
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        full_precision: bool = False,
    ) -> Tensor:
        answer = self._answer(mixture, weights or {}, track, full_precision)
        outputs = self._place.float(answer.outputs)
        loss = self._objective.loss(outputs, self.targets)
        if track or self.outputs is None:
            self.outputs = mapped(Tensor.detach, outputs)
            self.plain = loss.detach()
            self._state = answer.state
        return loss if answer.extra is None else loss + self._place.float(answer.extra)

    def evaluation(self, mixture: Mixture) -> Tensor:
        self._supernet.eval()
        try:
            constants = {name: weight.detach() for name, weight in self._supernet.named_parameters()}
            outputs = self._answer(mixture, constants, track=True).outputs
            return self._objective.loss(self._place.float(outputs), self.targets)
        finally:
            self._supernet.train()

    def _answer(
        self, mixture: Mixture, weights: Mapping[str, Tensor], track: bool, full_precision: bool = False
    ) -> Answer:
        state = dict(weights)
        if not track:
            state |= {name: buffer.clone() for name, buffer in self._supernet.named_buffers()}
        with nullcontext() if full_precision else self._place.autocast(), seeded(self._seed, self._place.device):
            if state:
                found: Any = functional_call(self._supernet, state, (self._inputs, mixture), self._more)
            else:
                found = self._supernet(self._inputs, mixture, **self._more)
        return found if isinstance(found, Answer) else Answer(found)


class ChangedLoss:
    """A loss of mixtures before a change: of a part that others complete, or before a selection's edits."""

    def __init__(self, loss: Loss, change: Callable[[Mixture], Mixture]) -> None:
        self._loss = loss
        self._change = change

    def __call__(
        self,
        mixture: Mixture,
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        full_precision: bool = False,
    ) -> Tensor:
        return self._loss(self._change(mixture), weights, track=track, full_precision=full_precision)

    def evaluation(self, mixture: Mixture) -> Tensor:
        return self._loss.evaluation(self._change(mixture))
