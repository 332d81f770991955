"""What the recurrent supernet and its discrete networks share: words in, words out, dropouts, regularisers.

    word --embedding--> x_t --cell--> h_t --the embedding again, and a bias--> logits of the next word

Source: Merity et al., Regularizing and Optimizing LSTM Language Models (arXiv:1708.02182), sections 4 and 5, as DARTS
uses it (Liu et al., arXiv:1806.09055, section 3.1 and appendix A).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.errors import Refused, shown
from poise.supernet.draws import Chance

RANGE = 0.04
"""Weights start uniformly in ``[−0.04, 0.04]``."""


@dataclass(frozen=True)
class Noise:
    """Dropouts and regularisers of a language model; every mask is drawn once per piece of text and kept over its time.

    Args:
        word: a word of the vocabulary is left out wherever it occurs.
        embedding: of the embedded words' features.
        input: of the cell's input ``x_t``.
        hidden: of the hidden state and of every node, where the cell's matrices read them.
        output: of the cell's output, where the decoder reads it.
        activation: times ``mean((m ⊙ h)²)``, m the output's mask, is added to the loss (AR).
        slowness: times ``mean((h_t − h_{t−1})²)`` is added to the loss (TAR).
    """

    word: float = 0.0
    embedding: float = 0.2
    input: float = 0.75
    hidden: float = 0.25
    output: float = 0.75
    activation: float = 0.0
    slowness: float = 1e-3

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0:
                raise Refused(f"noise.{field.name} must be a number of at least 0, got {shown(value)}")
            if field.name not in ("activation", "slowness") and value >= 1:
                raise Refused(f"noise.{field.name} is a share to drop, below 1, got {shown(value)}")


def mask(draws: Chance, like: Tensor, drop: float, *shape: int) -> Tensor | None:
    """A mask of dropout: 0 with probability ``drop``, else ``1/(1 − drop)``. None: nothing is dropped."""
    return draws.kept(shape, drop).to(like.dtype).div_(1 - drop) if drop else None


def masked(values: Tensor, by: Tensor | None) -> Tensor:
    """``by ⊙ values``."""
    return values if by is None else values * by


class Words(nn.Module):
    """Embedding and decoder, which share their matrix ``[vocabulary, units]``."""

    def __init__(self, vocabulary: int, units: int, noise: Noise) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, units).uniform_(-RANGE, RANGE))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.noise = noise

    def embed(self, tokens: Tensor, draws: Chance) -> Tensor:
        """``[time, texts]`` -> ``[time, texts, units]``."""
        noise = self.noise
        weight: Tensor = self.weight
        if self.training:
            weight = masked(weight, mask(draws, weight, noise.word, len(weight), 1))
        found = F.embedding(tokens, weight)
        return masked(found, mask(draws, found, noise.embedding, 1, *found.shape[1:])) if self.training else found

    def decode(self, hidden: Tensor, draws: Chance) -> tuple[Tensor, Tensor | None]:
        """``[time, texts, units]`` -> logits ``[time · texts, vocabulary]``, and the regularisers while training.

        ``activation·mean((m ⊙ h)²) + slowness·mean((h_t − h_{t−1})²)``; None where both are 0.
        """
        noise, seen = self.noise, hidden
        extra: Tensor | None = None
        if self.training:
            seen = masked(hidden, mask(draws, hidden, noise.output, 1, *hidden.shape[1:]))
            if noise.activation:
                extra = noise.activation * seen.square().mean()
            if noise.slowness and len(hidden) > 1:
                slow = noise.slowness * (hidden[1:] - hidden[:-1]).square().mean()
                extra = slow if extra is None else extra + slow
        return F.linear(seen.flatten(0, 1), self.weight, self.bias), extra
