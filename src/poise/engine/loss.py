"""The loss of one batch as a function of mixture and weights: what every slot of a method is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from poise.engine.device import Place
from poise.engine.objective import CLASSES, Objective, decides
from poise.engine.streams import seeded
from poise.methods.slots import Loss
from poise.supernet.groups import Mixture
from poise.supernet.inputs import Answer, Carries


class BatchLoss:
    """The objective of a supernet on one batch. Satisfies `poise.methods.slots.Loss`.

    Every call draws the same random numbers (dropout, noise), so the same arguments give the same number. Only a call
    with ``track`` updates running statistics: all others work on copies of the buffers.

    ``skip_dropout`` is the rate of dropout on skip connections in training mode; above 0 the supernet must know of it.

    The call that counts is the tracked one, or else the first. It leaves ``hits``, ``[predictions]`` bool, and their
    number ``correct``: the images (the words of a text) that it classified correctly; and ``plain``, its loss without
    the regularisers that a supernet may add.
    """

    def __init__(
        self,
        supernet: nn.Module,
        inputs: Any,
        labels: Tensor,
        seed: int,
        place: Place,
        skip_dropout: float = 0.0,
        objective: Objective = CLASSES,
    ) -> None:
        self._supernet = supernet
        # A supernet need not know of dropout to be searched without any.
        self._more = {"skip_dropout": skip_dropout} if skip_dropout else {}
        self._inputs = inputs
        self._labels = labels
        self._seed = seed
        self._place = place
        self._objective = objective
        self._state: Tensor | None = None
        self.hits: Tensor | None = None
        self.plain: Tensor | None = None

    @property
    def correct(self) -> Tensor:
        assert self.hits is not None, "the loss was not called yet"
        return self.hits.sum()

    @property
    def accuracy(self) -> Tensor:
        """The share of ``hits``."""
        return self.correct / len(self._labels)

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
        exact: bool = False,
    ) -> Tensor:
        answer = self._answer(mixture, weights or {}, track, exact)
        logits = self._place.float(answer.logits)
        loss = self._objective.loss(logits, self._labels)
        if track or self.hits is None:
            self.hits = self._objective.hits(logits, self._labels) if decides(self._objective) else None
            self.plain = loss.detach()
            self._state = answer.state
        return loss if answer.extra is None else loss + self._place.float(answer.extra)

    def evaluation(self, mixture: Mixture) -> Tensor:
        self._supernet.eval()
        try:
            constants = {name: weight.detach() for name, weight in self._supernet.named_parameters()}
            logits = self._answer(mixture, constants, track=True).logits
            return self._objective.loss(self._place.float(logits), self._labels)
        finally:
            self._supernet.train()

    def _answer(self, mixture: Mixture, weights: Mapping[str, Tensor], track: bool, exact: bool = False) -> Answer:
        state = dict(weights)
        if not track:
            state |= {name: buffer.clone() for name, buffer in self._supernet.named_buffers()}
        with nullcontext() if exact else self._place.autocast(), seeded(self._seed, self._inputs.device):
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
        exact: bool = False,
    ) -> Tensor:
        return self._loss(self._change(mixture), weights, track=track, exact=exact)

    def evaluation(self, mixture: Mixture) -> Tensor:
        return self._loss.evaluation(self._change(mixture))
