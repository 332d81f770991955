"""Decoding: every mode of image file against the pixels it was written from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import class_folders, noise
from PIL import Image

from poise.data import open_source
from poise.data.decode import Encoded, decode, form_of
from poise.data.resize import resize
from poise.errors import Refused

RGB = noise(6, 4, 3)
GREY = noise(6, 4, seed=1)
ALPHA = noise(6, 4, seed=2)


def load(*paths: Path, size: int | None = None) -> np.ndarray:
    items = [Encoded(path.name, lambda path=path: Image.open(path)) for path in paths]
    form = form_of(items, "here")
    return decode(list(range(len(items))), lambda rows: [items[row] for row in rows], form, size).numpy()


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def on_white(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha.astype(float) / 255
    return values * share + 255 * (1 - share)


def test_rgb_and_grey_are_exact(tmp_path: Path) -> None:
    (colour,) = load(save(tmp_path / "a.png", Image.fromarray(RGB)))
    assert np.array_equal(colour, RGB.transpose(2, 0, 1))
    (grey,) = load(save(tmp_path / "b.png", Image.fromarray(GREY)))
    assert np.array_equal(grey, GREY[None])


def test_black_and_white_is_grey(tmp_path: Path) -> None:
    (found,) = load(save(tmp_path / "a.png", Image.fromarray(GREY > 127)))
    assert np.array_equal(found, np.where(GREY > 127, 255, 0)[None])


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).integers(0, 2**16, (6, 4), dtype=np.uint16)
    wide[0, :2] = 0, 65535
    (found,) = load(save(tmp_path / "a.png", Image.fromarray(wide)))
    assert np.array_equal(found[0], np.round(wide / 257).astype(np.uint8))


def test_palettes_become_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    table = np.array(image.getpalette()[: 16 * 3]).reshape(-1, 3)
    (found,) = load(save(tmp_path / "a.png", image))
    assert np.array_equal(found, table[np.asarray(image)].transpose(2, 0, 1))


def test_transparency_is_blended_on_white(tmp_path: Path) -> None:
    (colour,) = load(save(tmp_path / "a.png", Image.fromarray(np.dstack([RGB, ALPHA]))))
    np.testing.assert_allclose(colour, on_white(RGB, ALPHA[..., None]).transpose(2, 0, 1), atol=1)
    (grey,) = load(save(tmp_path / "b.png", Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])))
    assert len(grey) == 1
    np.testing.assert_allclose(grey[0], on_white(GREY, ALPHA), atol=1)


def test_a_transparent_palette_entry_becomes_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    (found,) = load(save(tmp_path / "a.png", image, transparency=1))
    assert found[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red
    (found,) = load(save(tmp_path / "a.jpg", image, quality=95))
    np.testing.assert_allclose(found.mean((1, 2)), [255, 0, 0], atol=6)


def test_one_colour_image_makes_all_rgb(tmp_path: Path) -> None:
    found = load(
        save(tmp_path / "a.png", Image.fromarray(GREY)),
        save(tmp_path / "b.png", Image.fromarray(RGB)),
    )
    assert found.shape == (2, 3, 6, 4)
    assert np.array_equal(found[0], np.stack([GREY] * 3))


def test_mixed_sizes_need_a_size(tmp_path: Path) -> None:
    paths = [
        save(tmp_path / "a.png", Image.fromarray(noise(8, 8, 3))),
        save(tmp_path / "b.png", Image.fromarray(noise(4, 8, 3))),
    ]
    with pytest.raises(Refused, match=r"a.png is 8x8, b.png is 8x4 .* pass data.size"):
        load(*paths)
    assert load(*paths, size=4).shape == (2, 3, 4, 4)


def test_whole_factors_average_blocks(tmp_path: Path) -> None:
    array = noise(12, 8, 3)
    (found,) = load(save(tmp_path / "a.png", Image.fromarray(array)), size=4)
    expected = array.reshape(4, 3, 4, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected, atol=0.5001)
    tensor = torch.from_numpy(array).permute(2, 0, 1)[None]
    np.testing.assert_allclose(resize(tensor, 4)[0].numpy(), expected, atol=0.5001)
    np.testing.assert_allclose(resize(tensor.float(), 4)[0].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [5, 20])
def test_other_factors_are_bilinear_in_both_ways(tmp_path: Path, size: int) -> None:
    array = noise(12, 8, 3)
    (found,) = load(save(tmp_path / "a.png", Image.fromarray(array)), size=size)
    tensor = resize(torch.from_numpy(array).permute(2, 0, 1)[None], size)[0].numpy()
    np.testing.assert_allclose(found.astype(int), tensor.astype(int), atol=1)
    assert resize(torch.rand(1, 1, 12, 8), size).shape == (1, 1, size, size)


def test_many_images_keep_their_order(tmp_path: Path) -> None:
    arrays = [noise(5, 5, seed=index) for index in range(300)]
    items = [Encoded(str(index), lambda array=array: Image.fromarray(array)) for index, array in enumerate(arrays)]
    rows = torch.randperm(300).tolist()
    found = decode(rows, lambda wanted: [items[row] for row in wanted], form_of(items, "here"), None)
    assert np.array_equal(found[:, 0].numpy(), np.stack([arrays[row] for row in rows]))


@pytest.mark.parametrize("cut", [10, 60])
def test_an_unreadable_image_is_named(tmp_path: Path, cut: int) -> None:
    root = class_folders(tmp_path / "train")
    class_folders(tmp_path / "test")
    broken = root / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:cut])
    source = open_source(tmp_path)
    with pytest.raises(Refused, match=r"cannot read image .*dog/3.png"):
        source.load("train")


def test_float_images_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tiff", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(Refused, match=r"cannot read image a.tiff: 32-bit float pixels"):
        load(path)
