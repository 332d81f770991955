"""Batches: augmentation against a loop over images, exact resuming, and evaluation in order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_helpers import random_images

from poise.data import Augmentation, Batches, Images
from poise.data.augmentation import Draws
from poise.errors import Refused

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def batches(images: Images, batch_size: int = 8, augmentation: Augmentation = Augmentation(), **options) -> Batches:
    options = {"mean": MEAN, "std": STD, "device": "cpu"} | options
    return Batches(images, batch_size, augmentation=augmentation, **options)


def one_by_one(pixels: torch.Tensor, draws: Draws, augmentation: Augmentation, unit: float) -> np.ndarray:
    """The textbook version: pad, crop, flip, normalise, cut out, one image after the other."""
    finished = []
    for position, image in enumerate(pixels.numpy().astype(np.float64) / unit):
        shift_row, shift_column, flip, centre_row, centre_column = (int(field[position]) for field in draws)
        padding = augmentation.crop_padding
        _, height, width = image.shape
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        top, left = padding + shift_row, padding + shift_column
        image = padded[:, top : top + height, left : left + width]
        if flip:
            image = image[:, :, ::-1]
        image = (image - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
        first_row, first_column = centre_row - augmentation.cutout // 2, centre_column - augmentation.cutout // 2
        for row in range(first_row, first_row + augmentation.cutout):
            for column in range(first_column, first_column + augmentation.cutout):
                if 0 <= row < height and 0 <= column < width:
                    image[:, row, column] = 0
        finished.append(image)
    return np.stack(finished)


@pytest.mark.parametrize("floating", [False, True])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(crop_padding=3),
        Augmentation(flip=True),
        Augmentation(cutout=4),
        Augmentation(cutout=5),
        Augmentation(crop_padding=2, flip=True, cutout=6),
    ],
)
def test_augmentation_matches_a_loop_over_images(augmentation: Augmentation, floating: bool) -> None:
    images = random_images(16, 3, 8, 10)
    if floating:
        images = Images(images.pixels.float() / 100 - 1, images.labels, images.names)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    torch.randperm(16, generator=generator)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    draws = augmentation.draw(16, (8, 10), torch.Generator().manual_seed(seed))
    ((found, labels),) = batches(images, 16, augmentation).epoch(torch.Generator().manual_seed(7))
    expected = one_by_one(images.pixels[order], draws, augmentation, 1 if floating else 255)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, images.labels[order])


def test_draws_cover_their_ranges() -> None:
    draws = Augmentation(crop_padding=2, flip=True, cutout=4).draw(4000, (5, 7), torch.Generator().manual_seed(0))
    for values in (draws.shift_rows, draws.shift_columns):
        assert set(values.tolist()) == {-2, -1, 0, 1, 2}
    assert 0.45 < draws.flip.float().mean() < 0.55
    assert set(draws.centre_rows.tolist()) == set(range(5))
    assert set(draws.centre_columns.tolist()) == set(range(7))


def test_an_epoch_shows_every_image_once_and_shuffled() -> None:
    images = Images(random_images(24).pixels, torch.arange(24), tuple(map(str, range(24))))
    seen = torch.cat([labels for _, labels in batches(images).epoch(torch.Generator().manual_seed(0))])
    assert sorted(seen.tolist()) == list(range(24))
    assert seen.tolist() != list(range(24))


@pytest.mark.parametrize("start", [0, 1, 3])
def test_resuming_gives_the_batches_that_would_have_come(start: int) -> None:
    varied = batches(random_images(26), 8, Augmentation(2, True, 3))
    generator, resumed = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    whole = list(varied.epoch(generator))
    rest = list(varied.epoch(resumed, start=start))
    assert len(rest) == len(whole) - start
    for (images, labels), (images_again, labels_again) in zip(whole[start:], rest, strict=True):
        assert torch.equal(images, images_again)
        assert torch.equal(labels, labels_again)
    assert torch.equal(generator.get_state(), resumed.get_state())
    assert not torch.equal(whole[0][0], next(varied.epoch(generator))[0])


def test_the_generator_moves_when_the_epoch_is_made_and_no_other_generator_does() -> None:
    generator = torch.Generator().manual_seed(1)
    before, others = generator.get_state(), torch.random.get_rng_state()
    epoch = batches(random_images(16), 8, Augmentation(1, True, 2)).epoch(generator)
    after = generator.get_state()
    assert not torch.equal(before, after)
    list(epoch)
    assert torch.equal(generator.get_state(), after)
    assert torch.equal(torch.random.get_rng_state(), others)


def test_evaluation_is_in_order_complete_and_not_augmented() -> None:
    images = random_images(19)
    found = list(batches(images, 8, Augmentation(2, True, 4)).ordered())
    assert [len(labels) for _, labels in found] == [8, 8, 3]
    values = images.pixels.numpy() / 255.0
    expected = (values - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(torch.cat([each for each, _ in found]).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(torch.cat([labels for _, labels in found]), images.labels)


def test_batches_leave_the_images_as_they_are() -> None:
    pixels = torch.rand(8, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    images, before = Images(pixels, torch.zeros(8, dtype=torch.int64), ("a",)), pixels.clone()
    varied = batches(images, 8, Augmentation(2, True, 4))
    list(varied.epoch(torch.Generator()))
    list(varied.ordered())
    assert torch.equal(images.pixels, before)


def test_length_layout_and_dtype() -> None:
    images = random_images(19)
    assert (len(batches(images)), len(batches(images, drop_last=False))) == (2, 3)
    assert len(list(batches(images, drop_last=False).epoch(torch.Generator()))) == 3
    last, plain = next(batches(images).ordered())[0], next(batches(images, channels_last=False).ordered())[0]
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()
    assert torch.equal(last, plain)
    grey = Images(images.pixels[:, :1], images.labels, images.names)
    plain = next(batches(grey, channels_last=False, mean=(0.5,), std=(0.5,)).ordered())[0]
    assert plain.stride() == torch.empty(plain.shape).stride()  # convolutions go by strides, also of one channel
    half = next(batches(images, dtype=torch.bfloat16).ordered())[0]
    assert torch.equal(half, last.to(torch.bfloat16))


def test_what_cannot_work_is_refused() -> None:
    images = random_images(5)
    with pytest.raises(Refused, match="5 images do not fill one batch of 8"):
        batches(images, 8)
    assert len(batches(images, 8, drop_last=False)) == 1
    with pytest.raises(Refused, match="batch size is 0"):
        batches(images, 0)
    with pytest.raises(Refused, match="mean has 1 and std 3 numbers, expected 3"):
        batches(images, 2, mean=(0.5,))
    with pytest.raises(Refused, match="expected numbers above 0"):
        batches(images, 2, std=(0.5, 0, 0.5))
    with pytest.raises(Refused, match=r"start is batch 3, expected 0..2"):
        batches(images, 2).epoch(torch.Generator(), start=3)
    with pytest.raises(Refused, match=r"crop_padding is 8, expected less than the image side \(8\)"):
        batches(images, 2, Augmentation(crop_padding=8))
    with pytest.raises(Refused, match=r"cutout is 9, expected at most the image side \(8\)"):
        batches(images, 2, Augmentation(cutout=9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_padding": -1}, "crop_padding is -1"),
        ({"cutout": 1.5}, "cutout is 1.5"),
        ({"flip": 1}, "flip is 1"),
        ({"cutout": True}, "cutout is True"),
    ],
)
def test_bad_augmentations_are_refused(options: dict, message: str) -> None:
    with pytest.raises(Refused, match=message):
        Augmentation(**options)
