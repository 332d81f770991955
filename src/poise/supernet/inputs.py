"""What goes into a supernet and what comes out where that is more than images and logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

TRAINING, SEARCH = 0, 1
"""The streams of a search: the text that trains the weights, and the text that trains the alphas."""


@dataclass(frozen=True, eq=False)
class TextBatch:
    """A piece of several texts that are read side by side.

    Args:
        tokens: ``[time, texts]``, int64.
        stream: which stream of text this is a piece of, `TRAINING` or `SEARCH`; each has a hidden state of its own.
        fresh: whether the hidden state starts from zeros here; else it goes on from the stream's last piece.
        pace: the share of the learning rate that a step on this piece takes: its length over the usual one.
    """

    tokens: Tensor
    stream: int = TRAINING
    fresh: bool = True
    pace: float = 1.0

    @property
    def device(self) -> torch.device:
        return self.tokens.device


class Answer(NamedTuple):
    """What a supernet answers that has more to say than its outputs.

    ``outputs``: of classes, ``[predictions, classes]``. ``extra``: a scalar that the weights' loss grows by, a
    regulariser; None: nothing. ``state``: what the stream's next batch starts from, without gradient; None: nothing.
    """

    outputs: Tensor
    extra: Tensor | None = None
    state: Tensor | None = None


@runtime_checkable
class Carries(Protocol):
    """A supernet that goes from batch to batch with a state. Its forward pass only reads that state: a search loss is
    called several times in a step, and one of these calls counts."""

    def carry(self, batch: TextBatch, state: Tensor) -> None:
        """Take up what the call that counts answered for this batch."""
        ...


@runtime_checkable
class _Paced(Protocol):
    pace: float


def pace_of(inputs: object) -> float:
    """The share of the learning rate that a step on these inputs takes; 1 for all that do not say."""
    return inputs.pace if isinstance(inputs, _Paced) else 1.0
