"""What a loop needs of batches, whatever they are batches of, and what those share that are of one size."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

import torch
from torch import Tensor

from poise.errors import Refused
from poise.supernet.processes import ALONE, Processes

Passing = Generator[tuple[Any, Tensor], None, None]
"""Batches ``(inputs, labels)``, one after the other. Close it if it is not passed through to its end."""


class Batched(Protocol):
    """Batches ``(inputs, labels)``: inputs as the network takes them, with a ``device``; labels ``[n, ...]``.

    Of several processes each gets its rows of the inputs, and all get all labels. The batch is that of one process:
    chance is drawn for all of it.

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
        """A batch of another size, as large as any of its size gets; all rows, whatever the processes."""
        ...


class Portioned:
    """So many inputs, ``batch_size`` at a time, a batch divided over the ``processes``; a last one that is not full may
    be left out.

    Raises `Refused` for none, and for fewer than ``batch_size`` with ``drop_last`` (an epoch would be empty).
    """

    def __init__(self, count: int, batch_size: int, drop_last: bool, unit: str, processes: Processes = ALONE) -> None:
        if batch_size < 1:
            raise Refused(f"batch size is {batch_size}, expected at least 1")
        if not count or (drop_last and count < batch_size):
            raise Refused(f"{count} {unit} do not fill one batch of {batch_size}; lower the batch size")
        self.batch_size = batch_size
        self._count = count
        self._drop_last = drop_last
        self._processes = processes

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(self._count, self.batch_size)
        return whole + (rest > 0 and not self._drop_last)

    def _shuffled(self, generator: torch.Generator, start: int) -> Tensor:
        """All inputs in an order for an epoch from batch ``start`` on; the generator advances alike whatever that is.
        Raises `Refused` for a start outside ``0..len(self)``."""
        if not 0 <= start <= len(self):
            raise Refused(f"start is batch {start}, expected 0..{len(self)}")
        return torch.randperm(self._count, generator=generator, device=generator.device)
