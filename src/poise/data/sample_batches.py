"""Batches from samples that live on the device: shuffled for training, in order for evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.data.batched import Passing, Portioned
from poise.data.samples import Samples, rows
from poise.data.sending import sent
from poise.data.standard import Standard
from poise.supernet.processes import ALONE, Processes
from poise.supernet.trees import Tree, mapped


class SampleBatches(Portioned):
    """Standardised batches of ``samples``. Satisfies `poise.data.batched.Batched`.

    A batch is ``(inputs, labels)``, trees of tensors ``[batch, ...]`` on ``device``; floats are of ``dtype``, whole
    numbers and bools as they came. Every batch is new memory, contiguous, so that a module may work in it. An epoch's
    order is drawn on the generator's device, as by `poise.data.batches.Batches`.

    Raises `Refused` for fewer rows than ``batch_size`` with ``drop_last`` (an epoch would be empty).
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        standard: Standard,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        drop_last: bool = True,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__(len(samples), batch_size, drop_last, "rows", processes)
        self._device = device
        self._inputs = self._placed(standard(samples.inputs, dtype))
        self._labels = self._placed(mapped(lambda v: v.to(dtype) if v.is_floating_point() else v, samples.labels))

    def epoch(self, generator: torch.Generator, start: int = 0) -> Passing:
        """Shuffled batches, from batch ``start`` on; the generator advances by the same amount whatever ``start`` is,
        and at once. Raises `Refused` for a start outside ``0..len(self)``."""
        order = self._shuffled(generator, start)
        return self._passing(order[start * self.batch_size : len(self) * self.batch_size])

    def ordered(self) -> Passing:
        """Every row once, in order; the last batch may be smaller."""
        return self._passing(torch.arange(self._count))

    def first(self, count: int) -> tuple[Tree, Tree]:
        """The first rows, in order, however many a batch has."""
        chosen = torch.arange(min(count, self._count))
        return self._rows(chosen, chosen)

    def _passing(self, order: Tensor) -> Passing:
        for chosen in torch.split(order, self.batch_size):
            if len(chosen):
                yield self._rows(self._processes.part(chosen), chosen)

    def _rows(self, own: Tensor, chosen: Tensor) -> tuple[Tree, Tree]:
        return rows(self._inputs, sent(own, self._device)), rows(self._labels, sent(chosen, self._device))

    def _placed(self, tree: Tree) -> Tree:
        return mapped(lambda values: values.to(self._device).contiguous(), tree)
