"""Images: statistics against numpy, and what does not fit together is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_helpers import random_images

from poise.data import Images
from poise.errors import Refused


def test_statistics_of_bytes_match_numpy() -> None:
    images = random_images(5000, 3, 4, 4)  # more than the images counted at once
    mean, std = images.statistics()
    values = images.pixels.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, values.std((0, 2, 3)), rtol=1e-12)


def test_statistics_of_floats_are_of_the_raw_values() -> None:
    pixels = torch.randn(10, 2, 5, 7) * 3 + 40
    mean, std = Images(pixels, torch.zeros(10, dtype=torch.int64), ("a",)).statistics()
    np.testing.assert_allclose(mean, pixels.numpy().astype(np.float64).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.numpy().astype(np.float64).std((0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("pixels", [torch.full((4, 1, 2, 2), 7, dtype=torch.uint8), torch.full((4, 1, 2, 2), 0.3)])
def test_a_constant_channel_keeps_a_usable_deviation(pixels: torch.Tensor) -> None:
    assert Images(pixels, torch.zeros(4, dtype=torch.int64), ("a",)).statistics()[1] == (1e-3,)


def test_subset_keeps_the_order_asked_for() -> None:
    images = random_images(6, 1, 3, 5)
    chosen = images.subset(torch.tensor([4, 1]))
    assert torch.equal(chosen.pixels[0], images.pixels[4])
    assert chosen.labels.tolist() == [0, 1]
    assert (len(chosen), chosen.channels, chosen.size) == (2, 1, (3, 5))


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (torch.zeros(2, 3, 3), torch.zeros(2, dtype=torch.int64), r"pixels have shape \[2, 3, 3\]"),
        (torch.zeros(2, 1, 3, 3).double(), torch.zeros(2, dtype=torch.int64), "pixels are torch.float64"),
        (torch.zeros(2, 1, 3, 3), torch.zeros(2), "labels are torch.float32"),
        (torch.zeros(2, 1, 3, 3), torch.zeros(3, dtype=torch.int64), "2 images but 3 labels"),
        (torch.zeros(2, 1, 3, 3), torch.tensor([0, 5]), r"labels span 0..5, expected 0..1"),
    ],
)
def test_what_does_not_fit_is_refused(pixels: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(Refused, match=message):
        Images(pixels, labels, ("a", "b"))


def test_no_statistics_of_nothing() -> None:
    with pytest.raises(Refused, match="no images to take the mean"):
        random_images(4).subset(torch.empty(0, dtype=torch.int64)).statistics()
