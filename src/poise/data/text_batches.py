"""A text cut into batches: columns that are read side by side, piece after piece."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.data.batched import Passing
from poise.data.text import Text
from poise.errors import Refused
from poise.supernet.inputs import TRAINING, TextBatch

SHORT = 0.05
"""The share of pieces that are about half as long."""


class TextBatches:
    """Pieces of a text for training on and for measuring.

    The text is divided into ``batch_size`` columns of equal length (the rest at its end is left out), which are read
    side by side: a batch is a piece ``[time, batch_size]`` of all of them, and its labels are the words that come
    next, ``[time · batch_size]``, time first. Batches of an epoch follow each other in the text, so that a hidden state
    can be carried from one to the next.

    With ``vary`` the lengths of pieces are random, so that not always the same words stand at their borders: about
    ``sequence``, now and then about half of it, with a standard deviation of a seventh; cut points are then scaled so
    that an epoch has the same number of pieces as without and reads the whole text. Source: Merity et al., Regularizing
    and Optimizing LSTM Language Models (arXiv:1708.02182), section 5, where a piece has a normal length around 70 or 35
    and an epoch as many pieces as it takes.

    Args:
        text: what to read.
        batch_size: columns.
        sequence: words of a piece of each column.
        vary: whether lengths are random in `epoch`.
        stream: see `TextBatch`.
        device: where batches lie.

    Raises:
        Refused: the text is too short for two words in every column.
    """

    def __init__(
        self,
        text: Text,
        batch_size: int,
        *,
        sequence: int,
        vary: bool,
        stream: int = TRAINING,
        device: torch.device | str = "cpu",
    ) -> None:
        rows = len(text) // batch_size
        if rows < 2:
            raise Refused(
                f"{len(text):,} words do not fill {batch_size} columns with two words each; use a smaller batch"
            )
        self.batch_size = batch_size
        self.sequence = sequence
        self.words = text.words
        self._tokens = text.tokens[: rows * batch_size].view(batch_size, rows).T.contiguous().to(device)
        self._vary = vary
        self._stream = stream

    @property
    def _inputs(self) -> int:
        """Words of a column that something comes after."""
        return len(self._tokens) - 1

    def __len__(self) -> int:
        return max(1, self._inputs // self.sequence)

    def epoch(self, generator: torch.Generator, start: int = 0) -> Passing:
        """Piece after piece, from number ``start`` on. Only the first of an epoch is fresh.

        All lengths are drawn at once: the generator advances by the same amount whatever ``start`` is.
        """
        if not 0 <= start <= len(self):
            raise Refused(f"start is batch {start}, expected 0..{len(self)}")
        cuts = self._cuts(generator)
        return (self._piece(cuts[n], cuts[n + 1], fresh=n == 0) for n in range(start, len(self)))

    def ordered(self) -> Passing:
        """Every word once, in pieces of ``sequence``, the last perhaps shorter. Each piece is fresh: what is measured
        on one does not depend on who read the others."""
        for begin in range(0, self._inputs, self.sequence):
            yield self._piece(begin, min(begin + self.sequence, self._inputs), fresh=True)

    def first(self, count: int) -> tuple[TextBatch, Tensor]:
        """The longest piece that `epoch` can make, of the first ``count`` columns."""
        longest = 2 * self.sequence if self._vary else self.sequence
        batch, _ = self._piece(0, min(longest, self._inputs), fresh=True)
        tokens = self._tokens[: len(batch.tokens) + 1, :count]
        return TextBatch(tokens[:-1], self._stream), tokens[1:].flatten()

    def _piece(self, begin: int, end: int, fresh: bool) -> tuple[TextBatch, Tensor]:
        pace = (end - begin) / self.sequence
        labels = self._tokens[begin + 1 : end + 1].flatten()
        return TextBatch(self._tokens[begin:end], self._stream, fresh, pace), labels

    def _cuts(self, generator: torch.Generator) -> list[int]:
        """Where pieces begin, and where the last one ends; without ``vary`` the last piece takes what is left over."""
        count = len(self)
        if not self._vary:
            return [*range(0, count * self.sequence, self.sequence), self._inputs]
        short, noise = (draw(count, generator=generator, dtype=torch.float64) for draw in (torch.rand, torch.randn))
        base = torch.where(short < SHORT, self.sequence / 2, float(self.sequence))
        least, most = max(2, self.sequence // 7), max(3, self.sequence * 11 // 7)
        ends = (base + self.sequence / 7 * noise).long().clamp(least, most).cumsum(0).tolist()
        return [0, *(end * self._inputs // ends[-1] for end in ends)]
