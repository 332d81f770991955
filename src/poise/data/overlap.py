"""Images and samples that are in two splits at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from poise.data.images import Images
from poise.data.samples import Samples
from poise.supernet.trees import tensors


def overlap(train: Images, test: Images) -> int:
    """How many images of ``test`` are, pixel by pixel, also in ``train``; labels do not matter.

    Compared by a 128-bit hash of the pixels, so load both with the same size. A duplicate within ``test`` counts once
    more. Images of different shapes or types have nothing in common.
    """
    return _shared([train.pixels], [test.pixels]) if train.pixels.shape[1:] == test.pixels.shape[1:] else 0


def shared_rows(train: Samples, test: Samples) -> int:
    """The same of samples: how many rows of ``test`` are, bit by bit in all their inputs, also in ``train``."""
    same = train.shape(None) == test.shape(None)
    return _shared(tensors(train.inputs), tensors(test.inputs)) if same else 0


def _shared(train: Sequence[Tensor], test: Sequence[Tensor]) -> int:
    seen = set(_hashes(train))
    return sum(each in seen for each in _hashes(test))


def _hashes(columns: Sequence[Tensor]) -> Iterator[bytes]:
    """Of each row of tensors ``[n, ...]``, taken together."""
    flat = (values.flatten(1) if values.ndim > 1 else values[:, None] for values in columns)
    for row in zip(*(values.cpu().contiguous().view(torch.uint8).numpy() for values in flat), strict=True):
        yield blake2b(b"".join(row), digest_size=16).digest()
