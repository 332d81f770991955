"""Images and samples that are in two splits at once."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import torch

from poise.data.images import Images
from poise.data.samples import Samples
from poise.supernet.trees import tensors


def overlap(train: Images, test: Images) -> int:
    """How many images of ``test`` are, pixel by pixel, also in ``train``; labels do not matter.

    Compared by a 128-bit hash of the pixels, so load both with the same size. A duplicate within ``test`` counts once
    more. Images of different shapes or types have nothing in common.
    """
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        return 0
    seen = set(_hashes(train))
    return sum(each in seen for each in _hashes(test))


def _hashes(images: Images) -> Iterator[bytes]:
    for image in images.pixels.cpu().contiguous().flatten(1).numpy():
        yield blake2b(image, digest_size=16).digest()


def shared_rows(train: Samples, test: Samples) -> int:
    """The same of samples: how many rows of ``test`` are, bit by bit in all their inputs, also in ``train``."""
    if train.shape(None) != test.shape(None):
        return 0
    seen = set(_row_hashes(train))
    return sum(each in seen for each in _row_hashes(test))


def _row_hashes(samples: Samples) -> Iterator[bytes]:
    columns = [
        values.cpu().contiguous().reshape(len(samples), -1).view(torch.uint8).numpy()
        for values in tensors(samples.inputs)
    ]
    for row in zip(*columns, strict=True):
        yield blake2b(b"".join(row), digest_size=16).digest()
