"""The recurrent supernet, and the language model of a genotype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from poise.spaces.language import Noise, Words
from poise.spaces.recurrent_cell import DiscreteCell, MixedCell
from poise.spaces.space import TextShape
from poise.supernet.draws import Chance, Global
from poise.supernet.groups import ChoiceGroup, Mixture
from poise.supernet.inputs import TRAINING, Answer, TextBatch

STREAMS = 2


class RecurrentSupernet(nn.Module):
    """A language model around one mixed cell.

    ``hidden [2, texts, units]``, a buffer, is the hidden state of the training text and of the search text between
    their batches. The forward pass reads it and never changes it; `carry` does, after the call that counts.
    """

    hidden: Tensor
    takes_draws = True

    def __init__(
        self,
        groups: tuple[ChoiceGroup, ...],
        shape: TextShape,
        units: int,
        nodes: int,
        noise: Noise,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.groups = groups
        self.words = Words(shape.vocabulary, units, noise)
        self.cell = MixedCell(groups[0].rows[0].candidates, units, nodes, noise, normalise)
        self.register_buffer("hidden", torch.zeros(STREAMS, shape.texts, units))

    def forward(self, batch: TextBatch, mixture: Mixture, draws: Chance | None = None) -> Answer:
        """Logits ``[time · texts, vocabulary]``, the regularisers of the training text, the hidden state at the end.

        A batch of fewer texts than the supernet's reads on from the first of them.
        """
        before = self.hidden[batch.stream, : batch.tokens.shape[1]]
        if batch.fresh:
            before = torch.zeros_like(before)
        (group,) = self.groups
        draws = draws or Global(batch.device)
        states = self.cell(self.words.embed(batch.tokens, draws), before, mixture[group.name][0], draws)
        logits, extra = self.words.decode(states, draws)
        return Answer(logits, extra if batch.stream == TRAINING else None, states[-1].detach())

    def carry(self, batch: TextBatch, state: Tensor) -> None:
        """The next batch of this stream starts from ``state [texts, units]``."""
        self.hidden[batch.stream, : len(state)].copy_(state)


class Reading(NamedTuple):
    """What a language model makes of a piece of text.

    ``logits [time · texts, vocabulary]``; ``hidden [texts, units]``, the hidden state at its end; ``extra``, the
    regularisers while training, or None.
    """

    logits: Tensor
    hidden: Tensor
    extra: Tensor | None


class RecurrentNetwork(nn.Module):
    """The language model of a genotype.

    Args:
        nodes: for every node of the cell the ``(operation, state)`` that it adds up.
        vocabulary, units: sizes.
        noise: dropouts and regularisers.
    """

    takes_draws = True

    def __init__(self, nodes: Sequence[Sequence[tuple[str, int]]], vocabulary: int, units: int, noise: Noise) -> None:
        super().__init__()
        self.units = units
        self.words = Words(vocabulary, units, noise)
        self.cell = DiscreteCell(nodes, units, noise)

    def start(self, texts: int) -> Tensor:
        """The hidden state before the first word: zeros."""
        return self.words.bias.new_zeros(texts, self.units)

    def forward(self, tokens: Tensor, hidden: Tensor | None = None, draws: Chance | None = None) -> Reading:
        """``tokens [time, texts]``, the hidden state before them or None for zeros; what dropout is drawn from."""
        draws = draws or Global(tokens.device)
        before = self.start(tokens.shape[1]) if hidden is None else hidden
        states = self.cell(self.words.embed(tokens, draws), before, draws)
        logits, extra = self.words.decode(states, draws)
        return Reading(logits, states[-1], extra)
