"""What a loop needs of batches, whatever they are batches of."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

import torch
from torch import Tensor

Passing = Generator[tuple[Any, Tensor], None, None]
"""Batches ``(inputs, labels)``, one after the other. Close it if it is not passed through to its end."""


class Batched(Protocol):
    """Batches ``(inputs, labels)``: inputs as the network takes them, with a ``device``; labels ``[n, ...]``.

    Images in memory (`Batches`), images from a disk (`StreamedBatches`), text (`TextBatches`).
    """

    batch_size: int

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    def epoch(self, generator: torch.Generator, start: int = 0) -> Passing:
        """The batches to train on, from batch ``start`` on; the generator advances alike whatever ``start`` is."""
        ...

    def ordered(self) -> Passing:
        """Everything once, in order, to measure on; no batch depends on the one before it."""
        ...

    def first(self, count: int) -> tuple[Any, Tensor]:
        """A batch of another size, as large as any of its size gets."""
        ...
