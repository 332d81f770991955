"""The loss of one batch as a function of mixture and weights: what every slot of a method is given."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import cast

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from poise.engine.device import Place
from poise.engine.streams import seeded
from poise.methods.slots import Loss
from poise.selection.edits import Edits
from poise.supernet.groups import Mixture


class BatchLoss:
    """The mean cross-entropy of a supernet on one batch. Satisfies `poise.methods.slots.Loss`.

    Every call draws the same random numbers (dropout, noise), so the same arguments give the same number. Only a call
    with ``track`` updates running statistics: all others work on copies of the buffers.

    ``skip_dropout`` is the rate of dropout on skip connections in training mode; above 0 the supernet must know of it.

    ``hits``, ``[batch]`` bool, and their number ``correct``: the images that the first call, or else the tracked one,
    classified correctly.
    """

    def __init__(
        self, supernet: nn.Module, images: Tensor, labels: Tensor, seed: int, place: Place, skip_dropout: float = 0.0
    ) -> None:
        self._supernet = supernet
        # A supernet need not know of dropout to be searched without any.
        self._more = {"skip_dropout": skip_dropout} if skip_dropout else {}
        self._images = images
        self._labels = labels
        self._seed = seed
        self._place = place
        self.hits: Tensor | None = None

    @property
    def correct(self) -> Tensor:
        assert self.hits is not None, "the loss was not called yet"
        return self.hits.sum()

    def __call__(
        self,
        mixture: Mixture,
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        exact: bool = False,
    ) -> Tensor:
        logits = self._logits(mixture, weights or {}, track, exact)
        if track or self.hits is None:
            self.hits = logits.detach().argmax(dim=1) == self._labels
        return F.cross_entropy(self._place.float(logits), self._labels)

    def evaluation(self, mixture: Mixture) -> Tensor:
        self._supernet.eval()
        try:
            constants = {name: weight.detach() for name, weight in self._supernet.named_parameters()}
            return F.cross_entropy(self._place.float(self._logits(mixture, constants, track=True)), self._labels)
        finally:
            self._supernet.train()

    def _logits(self, mixture: Mixture, weights: Mapping[str, Tensor], track: bool, exact: bool = False) -> Tensor:
        state = dict(weights)
        if not track:
            state |= {name: buffer.clone() for name, buffer in self._supernet.named_buffers()}
        with nullcontext() if exact else self._place.autocast(), seeded(self._seed, self._images.device):
            if state:
                return cast(Tensor, functional_call(self._supernet, state, (self._images, mixture), self._more))
            return cast(Tensor, self._supernet(self._images, mixture, **self._more))


class CompletedLoss:
    """A loss of a part of the mixture: the other groups are as given."""

    def __init__(self, loss: Loss, others: Mixture) -> None:
        self._loss = loss
        self._others = others

    def __call__(
        self,
        mixture: Mixture,
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        exact: bool = False,
    ) -> Tensor:
        return self._loss({**mixture, **self._others}, weights, track=track, exact=exact)

    def evaluation(self, mixture: Mixture) -> Tensor:
        return self._loss.evaluation({**mixture, **self._others})


class EditedLoss:
    """A loss of mixtures before a selection's edits: what is decided stays so, however it is perturbed."""

    def __init__(self, loss: Loss, edits: Edits) -> None:
        self._loss = loss
        self._edits = edits

    def __call__(
        self,
        mixture: Mixture,
        weights: Mapping[str, Tensor] | None = None,
        *,
        track: bool = False,
        exact: bool = False,
    ) -> Tensor:
        return self._loss(self._edits.apply(mixture), weights, track=track, exact=exact)

    def evaluation(self, mixture: Mixture) -> Tensor:
        return self._loss.evaluation(self._edits.apply(mixture))
