"""Modules for data that is no images, with problems of which one candidate alone can be the answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import poise


class Tabular(nn.Module):
    """Rows of numbers to classes; what stands between two linear layers is to be found."""

    def __init__(self, features: int = 6, classes: int = 2, width: int = 16) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(features, width), nn.BatchNorm1d(width)
        self.act = poise.Choice({"linear": nn.Identity(), "relu": nn.ReLU(inplace=True)})
        self.head = nn.Linear(width, classes)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.act(self.norm(self.first(rows))))  # type: ignore[no-any-return]


class Audio(nn.Module):
    """Sound ``[channels, time]`` to classes; how much of it a convolution sees at once is to be found."""

    def __init__(self, classes: int = 2, width: int = 8) -> None:
        super().__init__()
        kernels = (1, 9)
        self.layer = poise.Choice({f"k{k}": nn.Conv1d(1, width, k, padding=k // 2) for k in kernels})
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(width, classes)

    def forward(self, sound: Tensor) -> Tensor:
        return self.head(self.act(self.layer(sound)).mean(-1))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention over the tokens that there are, in so many heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        found, _ = self.inner(x, x, x, key_padding_mask=~mask, need_weights=False)
        return found  # type: ignore[no-any-return]


class Alone(nn.Module):
    """No attention: every token for itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.inner(x)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Tokens and which of them count, by name, to classes; the attention and the width of the MLP are to be found."""

    def __init__(self, vocabulary: int = 6, classes: int = 2, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.attention = poise.Choice(
            {"alone": Alone(width), "one": Attention(width, 1), "four": Attention(width, 4)}, group="attention"
        )
        self.mlp = poise.Choice(
            {
                f"ratio{ratio}": nn.Sequential(
                    nn.Linear(width, ratio * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(ratio * width, width)
                )
                for ratio in (1, 2, 4)
            }
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, *, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = x + self.attention(x, mask)
        x = self.norm(x + self.mlp(x)) * mask[..., None]
        return self.head(x.sum(1) / mask.sum(1, keepdim=True))  # type: ignore[no-any-return]


def tabular(count: int = 400, seed: int = 0) -> tuple[Any, Any]:
    """Whether the first two numbers are further from 0 than usual: no linear function of a row says it."""
    rows = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) * 7 + 3
    return rows.double().numpy(), ((rows[:, :2] - 3).abs().sum(1) > 10).long().numpy()


def audio(count: int = 400, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Low and high tones of any phase: their values alone, whatever their order, are the same."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    phase = torch.rand(count, 1, generator=generator) * 6.3
    return torch.sin(torch.arange(64) * (0.3 + 1.2 * labels[:, None]) + phase)[:, None], labels


def tokens(count: int = 400, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """Whether token 1 is among those that count."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(7) < torch.randint(2, 8, (count, 1), generator=generator)
    found = torch.randint(6, (count, 7), generator=generator)
    return {"tokens": found, "mask": mask}, ((found == 1) & mask).any(1).long()
