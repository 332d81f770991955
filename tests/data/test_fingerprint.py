"""A fingerprint is that of pixels, labels, class names, their types and order; and of nothing else."""

from __future__ import annotations

import torch

from poise.data import Images, fingerprint

PIXELS = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
LABELS = torch.tensor([0, 1])
IMAGES = Images(PIXELS, LABELS, ("a", "b"))


def test_the_same_images_have_the_same() -> None:
    again = Images(PIXELS.clone().contiguous(memory_format=torch.channels_last), LABELS.clone(), ("a", "b"))
    assert fingerprint(IMAGES) == fingerprint(again)


def test_everything_else_differs() -> None:
    brighter = PIXELS.clone()
    brighter[1, 2, 3, 3] += 1
    others = [
        (Images(brighter, LABELS, ("a", "b")),),
        (Images(PIXELS, LABELS.flip(0), ("a", "b")),),
        (Images(PIXELS, LABELS, ("a", "c")),),
        (Images(PIXELS.float(), LABELS, ("a", "b")),),
        (Images(PIXELS.reshape(2, 3, 2, 8), LABELS, ("a", "b")),),
        (IMAGES.subset(torch.tensor([1, 0])),),
        (IMAGES, IMAGES),
        (IMAGES.subset(torch.tensor([0])), IMAGES.subset(torch.tensor([1]))),
    ]
    assert len({fingerprint(*parts) for parts in [(IMAGES,), *others]}) == len(others) + 1
