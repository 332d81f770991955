"""Images that come one by one are, to the last bit, what a training would have made of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_helpers import bomb, noise, png
from PIL import Image
from torch import Tensor

from poise.data import Images, open_source
from poise.data.crops import Middle
from poise.data.intake import Intake
from poise.data.pixels import Pixels
from poise.errors import Refused

BYTES = Pixels("RGB", 255.0, 0.0, 1.0, (0.5,) * 3, (0.25,) * 3)
GREY = Pixels("grey", 255.0, 0.0, 1.0, (0.5,), (0.25,))
FLOATS = Pixels("data", 1.0, -2.0, 3.0, (0.5,) * 3, (1.0,) * 3)


def intake(size: tuple[int, int] = (8, 8), pixels: Pixels = BYTES, streamed: bool = False) -> Intake:
    return Intake(len(pixels.mean), size, pixels, streamed)


def read(taken: Intake, inputs: Any, size: int = 3) -> tuple[list[str], Tensor]:
    """Names and inputs, all of which can be read."""
    names, found = [], []
    for batch in taken.batches(inputs, size):
        assert not batch.errors
        assert batch.inputs is not None
        assert len(batch.inputs) == len(batch.given) <= size
        names += [given.name for given in batch.given]
        found.append(batch.inputs)
    return names, torch.cat(found)


def errors(taken: Intake, inputs: Any) -> list[str]:
    return [text for batch in taken.batches(inputs, 2) for text in batch.errors.values()]


def folder(root: Path, sides: tuple[int, int], mode: str = "RGB", count: int = 8) -> Path:
    """Class folders of images of these sides, ``(height, width)``."""
    for number in range(count):
        pixels = noise(*sides, 3, seed=number)
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(path)
    return root


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
@pytest.mark.parametrize(("sides", "size"), [((8, 8), None), ((8, 8), 8), ((16, 24), 8), ((9, 13), 8), ((5, 6), 8)])
def test_files_are_what_training_makes_of_them(tmp_path: Path, mode: str, sides: tuple[int, int], size: int) -> None:
    if mode == "CMYK":
        for number in range(8):
            path = tmp_path / "ab"[number % 2] / f"{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(*sides, 4, seed=number), "CMYK").save(path)
    else:
        folder(tmp_path, sides, mode)
    source = open_source(tmp_path)
    trained = torch.cat([source.load(split, size=size).pixels for split in ("train", "test")])
    grey = trained.shape[1] == 1
    names, found = read(intake(pixels=GREY if grey else BYTES), tmp_path)
    assert found.dtype == torch.uint8
    ordered = [str(path) for path in sorted(tmp_path.rglob("*.*"))]
    assert names == ordered
    assert sorted(found.flatten(1).tolist()) == sorted(trained.flatten(1).tolist())


def test_a_streamed_network_sees_middles_however_large(tmp_path: Path) -> None:
    folder(tmp_path, (20, 30))
    _, found = read(intake(streamed=True), tmp_path)
    for pixels, path in zip(found, sorted(tmp_path.rglob("*.png")), strict=True):
        with Image.open(path, formats=("PNG",)) as image:
            assert np.array_equal(pixels.permute(1, 2, 0).numpy(), Middle(8)(image, 0))
    plain, array = read(intake(streamed=True), noise(2, 3, 8, 8))[1], noise(2, 3, 8, 8)
    assert not np.array_equal(plain.numpy(), array), "also of images of its own size"


def test_everything_that_is_an_image_in_python(tmp_path: Path) -> None:
    array = noise(4, 3, 8, 8)
    paths = []
    for number, pixels in enumerate(array):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(png(pixels.transpose(1, 2, 0)))
    numbered = [f"image {number}" for number in range(4)]
    pillow = [Image.fromarray(pixels.transpose(1, 2, 0)) for pixels in array]
    locked = array.copy()
    locked.flags.writeable = False
    for inputs, names in (
        (array, numbered),
        (locked, numbered),
        (array[::-1][::-1], numbered),
        (torch.from_numpy(array), numbered),
        (list(array), numbered),
        ([array[:1], torch.from_numpy(array[1:3]), pillow[3]], numbered),
        (Images(torch.from_numpy(array), torch.zeros(4, dtype=torch.int64), ("a",)), numbered),
        (pillow, numbered),
        (iter(paths), [str(path) for path in paths]),
        ([str(path) for path in paths], [str(path) for path in paths]),
        ([paths[0], array[1], pillow[2], paths[3]], [str(paths[0]), "image 0", "image 1", str(paths[3])]),
        (tmp_path, [str(path) for path in paths]),
        (f"{tmp_path}/*.png", [str(path) for path in paths]),
    ):
        found_names, found = read(intake(), inputs)
        assert found_names == names
        assert np.array_equal(found.numpy(), array)
    assert read(intake(), array[0])[1].tolist() == array[:1].tolist(), "one alone"
    assert read(intake(), pillow[0])[1].tolist() == array[:1].tolist()
    assert list(intake().batches([], 3)) == []


def test_floats_are_taken_as_they_are_and_8_bit_values_divided_among_them() -> None:
    floats = torch.rand(5, 3, 8, 8)
    assert torch.equal(read(intake(), floats)[1], floats)
    assert torch.equal(read(intake(pixels=FLOATS), floats.double().numpy())[1], floats)
    whole = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    _, found = read(intake(), [floats[0], whole])
    assert torch.equal(found, torch.stack([floats[0], torch.ones(3, 8, 8)]))


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (noise(2, 8, 8, 3), r"shape \[2, 8, 8, 3\], expected \[n, 3, height, width\]"),
        (noise(8, 8), r"shape \[8, 8\]"),
        (noise(2, 1, 8, 8), r"shape \[2, 1, 8, 8\]"),
        (np.zeros((2, 3, 0, 8), np.uint8), "shape"),
        (np.zeros((2, 3, 8, 8), np.int64), "is torch.int64, expected torch.uint8"),
        (np.zeros((2, 3, 8, 8), "U1"), "expected uint8"),
        (np.zeros((2, 3, 8, 8), object), "expected uint8"),
        (torch.full((2, 3, 8, 8), 9.0) + torch.arange(8) * 30, "give them in the same unit"),
        (b"\x89PNG", "expected image files"),
        (7, "expected image files, folders, arrays or images of Pillow, got 7"),
        ([7], "expected an image file"),
        ("nowhere.png", "no such file or folder: nowhere.png"),
        ("*.nothing", "no file matches"),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused(inputs: Any, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        next(intake().batches(inputs, 2))


def test_a_network_of_floats_takes_no_files() -> None:
    for inputs in (Image.new("RGB", (8, 8)), [Image.new("RGB", (8, 8))], Path(__file__)):
        with pytest.raises(Refused, match="image files hold 8-bit values in 1 or 3 channels: pass arrays from Python"):
            next(intake(pixels=FLOATS).batches(inputs, 1))


def test_what_cannot_be_read_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    good = noise(2, 8, 8, 3)
    contents = {
        "0.png": png(good[0]), "1.png": b"", "2.png": b"no image", "3.png": png(good[0])[:-30],
        "4.png": bomb(9000, 9000), "5.png": bomb(2**31 - 1, 2**31 - 1), "6.png": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "7.png": png(good[1]),
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    inputs: list[Any] = [*sorted(tmp_path.iterdir()), tmp_path / "gone.png", tmp_path / ("x" * 300), "a\0b"]
    batches = list(intake().batches(inputs, 3))
    found = [batch.errors.get(n, "") for batch in batches for n in range(len(batch.given))]
    assert [number for number, error in enumerate(found) if not error] == [0, 7]
    for number, path in enumerate(inputs[:8]):
        assert not found[number] or found[number].startswith(f"cannot read image {path}: ")
    assert "9000x9000 pixels" in found[4]
    kept = torch.cat([batch.inputs for batch in batches if batch.inputs is not None])
    assert np.array_equal(kept.permute(0, 2, 3, 1).numpy(), good)
    assert batches[-1].inputs is None
    nan = torch.full((1, 3, 8, 8), float("nan"))
    assert errors(intake(), [nan[0]]) == ["image 0 holds values that are not finite (NaN or infinity)"]


def test_images_of_another_size_are_resized_to_squares_only(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(noise(6, 8, 3)))
    (tmp_path / "b.png").write_bytes(png(noise(6, 10, 3)))
    taken = intake(size=(6, 8))
    assert errors(taken, tmp_path) == [f"{tmp_path}/b.png is 10x6, the network takes 8x6 (width x height)"]
    assert errors(taken, noise(2, 3, 8, 6)) == [
        f"image {n} is 6x8, the network takes 8x6 (width x height)" for n in (0, 1)
    ]
    assert read(intake(), noise(1, 3, 16, 24))[1].shape == (1, 3, 8, 8)


def test_a_batch_is_as_large_as_asked() -> None:
    sizes = [len(batch.given) for batch in intake().batches(noise(7, 3, 8, 8), 3)]
    assert sizes == [3, 3, 1]
    with pytest.raises(Refused, match="batch size is 0"):
        next(intake().batches(noise(1, 3, 8, 8), 0))


def test_memory_holds_a_batch_however_many_images_come() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def many() -> Iterator[Tensor]:
        nonlocal most
        for number in range(3000):
            image = torch.full((3, 8, 8), number % 256, dtype=torch.uint8)
            alive.append(weakref.ref(image))
            if number % 100 == 99:
                gc.collect()
                most = max(most, sum(ref() is not None for ref in alive))
            yield image

    total = 0
    for batch in intake().batches(many(), 50):
        total += len(batch.given)
    assert total == 3000
    assert most <= 2 * 50 + 1, "those of one batch, and of the one that is gathered"
