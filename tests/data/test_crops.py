"""Crops and colour jitter of one photograph: geometry by hand, chance by its distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from poise.data import jitter
from poise.data.crops import Box, Middle, RandomPart, central_box, random_box
from poise.errors import Refused


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(width: int, height: int) -> Image.Image:
    """Red is the column, green the row."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((256, 256), Box(16, 16, 240, 240)),
        ((512, 256), Box(144, 16, 368, 240)),
        ((256, 300), Box(16, 38, 240, 262)),
        ((8, 16), Box(0.5, 4.5, 7.5, 11.5)),
    ],
)
def test_the_middle_by_hand(size: tuple[int, int], box: Box) -> None:
    assert central_box(*size) == box


def test_the_middle_without_scaling_is_cut_out() -> None:
    pixels = Middle(224)(ramp(256, 250), seed=0)  # 250 * 0.875 = 218.75: nearly one to one
    assert pixels.shape == (224, 224, 3)
    exact = Middle(224)(ramp(256, 256), seed=0)
    assert exact[..., 0].tolist() == [list(range(16, 240))] * 224
    assert exact[..., 1].T.tolist() == [list(range(16, 240))] * 224


def test_random_boxes_have_the_published_distribution() -> None:
    width, height = 1000, 1000  # so large that nearly every draw fits where the area is small
    draw = generator()
    boxes = [random_box(width, height, 0.08, draw) for _ in range(4000)]
    areas = np.array([(b.right - b.left) * (b.bottom - b.top) / (width * height) for b in boxes])
    ratios = np.array([math.log((b.right - b.left) / (b.bottom - b.top)) for b in boxes])
    limit = math.log(4 / 3)
    assert areas.min() > 0.0795
    assert areas.max() <= 1
    assert np.abs(ratios).max() < limit + 0.01
    small = areas < 0.5  # always fits, whatever the ratio: uniform there
    assert small.any()
    grid = np.histogram(areas[small], bins=6, range=(0.08, 0.5))[0]
    assert grid.min() > 0.8 * grid.mean()
    assert grid.max() < 1.2 * grid.mean()
    assert ratios[small].mean() == pytest.approx(0, abs=0.02)
    assert ratios[small].var() == pytest.approx(limit**2 / 3, rel=0.1)
    lefts = np.array([b.left / (width - (b.right - b.left)) for b in boxes if b.right - b.left < 900])
    tops = np.array([b.top / (height - (b.bottom - b.top)) for b in boxes if b.bottom - b.top < 900])
    for places in (lefts, tops):
        assert places.min() >= 0
        assert places.max() <= 1
        assert places.mean() == pytest.approx(0.5, abs=0.02)
        assert places.var() == pytest.approx(1 / 12, rel=0.08)
    for box in boxes:
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.top < box.bottom <= height
        assert all(side == int(side) for side in box)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((400, 30), Box(180, 0, 220, 30)),  # 4/3 of 30
        ((30, 400), Box(0, 180, 30, 220)),
    ],
)
def test_where_nothing_fits_the_largest_middle_is_taken(size: tuple[int, int], box: Box) -> None:
    """Of the whole area no allowed shape fits into a strip."""
    assert random_box(*size, 1.0, generator()) == box


def test_a_random_part_is_what_its_box_shows() -> None:
    image, mirrored = ramp(200, 150), 0
    for seed in range(12):
        box = random_box(200, 150, 0.3, generator(seed))
        pixels = RandomPart(16, 0.3, flip=True)(image, seed).astype(float)
        red, green = pixels[:, :, 0].mean(axis=0), pixels[:, :, 1].mean(axis=1)
        if red[0] > red[-1]:
            mirrored, red = mirrored + 1, red[::-1]
        step = (box.right - box.left) / 16
        np.testing.assert_allclose(red[1:-1], box.left + step * (np.arange(1, 15) + 0.5) - 0.5, atol=1)
        step = (box.bottom - box.top) / 16
        np.testing.assert_allclose(green[1:-1], box.top + step * (np.arange(1, 15) + 0.5) - 0.5, atol=1)
        again = RandomPart(16, 0.3, flip=True)(image, seed)
        assert np.array_equal(pixels, again)
    assert 2 <= mirrored <= 10
    parts = [RandomPart(16, 0.3, flip=False)(image, seed) for seed in range(12)]
    assert all(part[0, 0, 0] < part[0, -1, 0] for part in parts)
    assert len({part.tobytes() for part in parts}) == 12


def test_grey_photographs_keep_one_channel() -> None:
    grey = ramp(40, 30).convert("L")
    assert Middle(8)(grey, 0).shape == (8, 8, 1)
    assert RandomPart(8, jitter=0.4)(grey, 0).shape == (8, 8, 1)


def colour(*values: int) -> Image.Image:
    return Image.new("RGB", (2, 2), values)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (jitter.brightened(colour(100, 50, 200), 1.2), (120, 60, 240)),
        (jitter.brightened(colour(100, 50, 240), 1.2), (120, 60, 255)),
        (jitter.saturated(colour(100, 50, 200), 0.0), (82, 82, 82)),  # 0.299 R + 0.587 G + 0.114 B
        (jitter.saturated(colour(100, 50, 200), 0.5), (91, 66, 141)),
        (jitter.contrasted(colour(100, 50, 200), 0.5), (91, 66, 141)),  # the mean grey of one colour is its own
        (jitter.hued(colour(200, 0, 0), 1 / 3), (0, 200, 0)),
        (jitter.hued(colour(200, 0, 0), -1 / 3), (0, 0, 200)),
        (jitter.hued(colour(7, 7, 7), 0.2), (7, 7, 7)),
    ],
)
def test_colour_by_hand(changed: Image.Image, expected: tuple[int, ...]) -> None:
    found = changed.getpixel((0, 0))
    assert isinstance(found, tuple)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 5, found  # hues come in 256 steps


def test_contrast_goes_by_the_mean_of_the_image() -> None:
    image = Image.fromarray(np.array([[0, 200]], np.uint8))
    assert np.asarray(jitter.contrasted(image, 0.5)).tolist() == [[50, 150]]


def test_jitter_draws_all_four_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[str, float]]] = []

    def record(name: str) -> Any:
        def change(image: Image.Image, amount: float) -> Image.Image:
            seen[-1].append((name, amount))
            return image

        return change

    names = ("brightened", "contrasted", "saturated", "hued")
    for name in names:
        monkeypatch.setattr(jitter, name, record(name))
    draw = generator()
    for _ in range(600):
        seen.append([])
        jitter.jittered(colour(1, 2, 3), 0.4, draw)
    assert len({tuple(name for name, _ in each) for each in seen}) == 24
    for name in names:
        amounts = np.array([dict(each)[name] for each in seen])
        centre, reach = (0, 0.2) if name == "hued" else (1, 0.4)
        assert np.abs(amounts - centre).max() <= reach
        assert amounts.mean() == pytest.approx(centre, abs=0.05 * reach / 0.4 * 2)
        assert amounts.std() == pytest.approx(reach / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize("wrong", [{"least_area": 0.0}, {"least_area": 1.1}, {"jitter": -0.1}, {"jitter": 2.0}])
def test_senseless_parts_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Refused, match="expected"):
        RandomPart(8, **wrong)  # type: ignore[arg-type]
