"""What a loop needs of batches, whatever they are batches of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Batched(Protocol):
    """Batches ``(inputs, labels)``: inputs as the network takes them, with a ``device``; labels int64 ``[n]``."""

    batch_size: int

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    def epoch(self, generator: torch.Generator, start: int = 0) -> Iterator[tuple[Any, Tensor]]:
        """The batches to train on, from batch ``start`` on; the generator advances alike whatever ``start`` is."""
        ...

    def ordered(self) -> Iterator[tuple[Any, Tensor]]:
        """Everything once, in order, to measure on; no batch depends on the one before it."""
        ...

    def first(self, count: int) -> tuple[Any, Tensor]:
        """A batch of another size, as large as any of its size gets."""
        ...

    def also(self, loss: float) -> Mapping[str, float]:
        """What else a mean loss on such data is called, by name: of text, its perplexity."""
        ...
