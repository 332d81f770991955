"""Masks move with their images, and folders of them are read as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_helpers import noise
from hypothesis import given
from hypothesis import strategies as st
from label_helpers import MASKS, folder, line
from PIL import Image

from poise.data import Augmentation, Batches, Images, open_source
from poise.data.labels import ClassIds, Masks
from poise.data.mask_folders import masked_part
from poise.data.masked import MaskedPart
from poise.data.resize import resize_masks


def batches(labels: torch.Tensor, augmentation: Augmentation, **options: Any) -> Batches:
    """Of images whose pixels are ``label + 1``, so that 0 is what comes from beyond the border."""
    images = Images((labels + 1).float()[:, None], labels, ("a", "b", "c"))
    return Batches(images, 6, augmentation=augmentation, mean=(0.0,), std=(1.0,), device="cpu", **options)


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(), Augmentation(crop_padding=3), Augmentation(flip=True), Augmentation(crop_padding=2, flip=True)],
)
@pytest.mark.parametrize("ignore_index", [255, 0, -100])
def test_masks_are_cropped_and_flipped_with_their_images(augmentation: Augmentation, ignore_index: int) -> None:
    labels = torch.from_numpy(noise(24, 8, 7)).long() % 3
    made = batches(labels, augmentation, outside=ignore_index)
    beyond = 0
    for images, masks in made.epoch(torch.Generator().manual_seed(1)):
        assert (masks.dtype, masks.shape) == (torch.int64, (6, 8, 7))
        inside = images[:, 0] > 0
        assert torch.equal(masks[inside], images[:, 0][inside].long() - 1)
        assert (masks[~inside] == ignore_index).all()
        beyond += int((~inside).sum())
    assert (beyond > 0) == (augmentation.crop_padding > 0)
    assert torch.equal(torch.cat([masks for _, masks in made.ordered()]), labels)
    assert torch.equal(made.first(5)[1], labels[:5])


def test_cutout_leaves_masks_as_they_are() -> None:
    labels = torch.from_numpy(noise(12, 8, 8)).long() % 3
    plain, cut = (
        list(batches(labels, Augmentation(2, flip=True, cutout=side)).epoch(torch.Generator().manual_seed(3)))
        for side in (0, 4)
    )
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(plain, cut, strict=True))
    assert not all(torch.equal(a, b) for (a, _), (b, _) in zip(plain, cut, strict=True))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_masks_are_resized_as_pillow_does_it(height: int, width: int, rows: int, columns: int) -> None:
    mask = noise(height, width)
    found = resize_masks(torch.from_numpy(mask)[None].long(), (rows, columns))[0]
    expected = [
        [mask[int((row + 0.5) * height / rows), int((column + 0.5) * width / columns)] for column in range(columns)]
        for row in range(rows)
    ]
    assert found.tolist() == np.array(expected).tolist()


def test_a_whole_factor_takes_the_middle() -> None:
    mask = torch.arange(16).view(1, 4, 4)
    assert resize_masks(mask, (2, 2)).tolist() == [[[5, 7], [13, 15]]]
    assert resize_masks(mask, (4, 4)) is mask


def test_names_come_from_a_file(tmp_path: Path) -> None:
    root = folder(tmp_path, "masks")
    (root / "classes.txt").write_text("\ufeffsky\nsea \r\nland\nboat\n\n")
    source = open_source(root, Masks())
    assert source.names == ("sky", "sea", "land", "boat")
    note = Masks().note(source.labels("train"), source.names, "x")
    assert note == "1 of the 4 classes of x have no pixel to train on ('boat')"
    (root / "classes.txt").write_text("sky\nsea\n")
    assert "is of class 2, expected 0..1, or 255 for none" in line(lambda: open_source(root, Masks()))
    (root / "classes.txt").write_text("sky\n\nsea\n")
    assert "has an empty line" in line(lambda: open_source(root, Masks()))
    (root / "classes.txt").write_text("sky\nsky\nsea\n")
    assert "two classes named 'sky'" in line(lambda: open_source(root, Masks()))
    (root / "classes.txt").write_bytes(b"\xff")
    assert "is not UTF-8" in line(lambda: open_source(root, Masks()))


def test_the_value_of_no_label_can_be_chosen(tmp_path: Path) -> None:
    source = open_source(folder(tmp_path, "masks"), Masks(ignore_index=2))
    # 255 is a class like any other then, and so there are 256.
    assert len(source.names) == 256
    assert Masks(2).seen(source.labels("train"), source.names).statistics["count"][2] == 0


def test_train_and_test_folders(tmp_path: Path) -> None:
    root = folder(tmp_path, "masks")
    for name in ("images", "masks"):
        for split in ("train", "val"):
            (root / split / name).mkdir(parents=True)
        for row, path in enumerate(sorted((root / name).iterdir())):
            path.rename(root / ("val" if row < 4 else "train") / name / path.name)
        (root / name).rmdir()
    source = open_source(str(root), Masks())
    assert torch.equal(source.load("test").labels, MASKS[:4])
    assert torch.equal(source.load("train").labels, MASKS[4:])
    mask = np.full((6, 5), 7, np.uint8)
    Image.fromarray(mask).save(root / "val" / "masks" / "02.png")
    assert "02.png is of class 7, expected 0..2" in line(lambda: open_source(root, Masks()).load("test"))


def test_images_of_different_sizes_have_masks_of_their_own(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for row in range(12):
        side = 4 + 2 * (row % 3)
        Image.fromarray(noise(side, side, 3)).save(tmp_path / "images" / f"{row}.jpg")
        values = np.zeros((side, side), np.uint8)
        values[:, side // 2 :] = 1
        Image.fromarray(values).save(tmp_path / "masks" / f"{row}.png")
    source = open_source(tmp_path, Masks())
    halves = torch.tensor([[0, 0, 1, 1]] * 4)
    assert all(torch.equal(mask, halves) for mask in source.load("train", size=4).labels)
    assert all(torch.equal(mask, halves) for mask in source.labels("train"))
    assert "pass data.size" in line(lambda: source.load("train"))


def test_many_masks_are_shown_smaller_and_loaded_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.data.masked.SHOWN", 40 * 3 * 2)
    root = folder(tmp_path, "masks")
    rare = MASKS[0].clone()
    rare[0, 1] = 6  # in a pixel that is not among those shown
    Image.fromarray(rare.numpy().astype(np.uint8)).save(root / "masks" / "00.png")
    part = masked_part(root, root, Masks())
    assert isinstance(part, MaskedPart)
    assert part.labels.shape[1] * part.labels.shape[2] <= 6
    assert part.names == tuple(map(str, range(7)))
    rows = torch.tensor([3, 0])
    assert torch.equal(part.targets(rows, part.form(), None), torch.stack([MASKS[3], rare]))
    assert torch.equal(part.select(rows).targets(torch.tensor([1]), part.form(), None)[0], rare)


def test_unreadable_images_go_with_their_masks(tmp_path: Path) -> None:
    root = folder(tmp_path, "masks")
    (root / "images" / "03.png").write_bytes(b"broken")
    assert "cannot read image" in line(lambda: open_source(root, Masks()).load("train"))
    source = open_source(root, Masks(), skip_bad_images=True)
    both = [source.load(split).labels for split in ("train", "test")]
    known = {mask.numpy().tobytes() for mask in torch.cat(both)}
    assert known == {mask.numpy().tobytes() for mask in MASKS[torch.arange(len(MASKS)) != 3]}


def test_bad_mask_folders_are_refused(tmp_path: Path) -> None:
    def refused_with(expected: str, spoil: Any) -> None:
        root = folder(tmp_path / expected.replace("/", "")[:20], "masks")
        spoil(root)
        assert expected in line(lambda: open_source(root, Masks()).load("train"))

    def save(name: str, array: np.ndarray) -> Any:
        return lambda root: Image.fromarray(array).save(root / name)

    refused_with("02.png has no mask", lambda root: (root / "masks" / "02.png").unlink())
    refused_with("02.png has no image", lambda root: (root / "images" / "02.png").unlink())
    refused_with("cannot read mask", lambda root: (root / "masks" / "02.png").write_bytes(b"broken"))
    refused_with("is of mode RGB, expected one channel", save("masks/02.png", noise(6, 5, 3)))
    refused_with("is 6x6, its image", save("masks/02.png", noise(6, 6) % 3))
    refused_with("have the same name but", save("masks/02.bmp", noise(6, 5) % 3))
    refused_with(
        "is a .jpg file, expected .png", lambda root: (root / "masks" / "02.png").rename(root / "masks/02.jpg")
    )
    refused_with("notes.txt is not an image", lambda root: (root / "images" / "notes.txt").write_text("x"))

    def all_of_one_class(root: Path) -> None:
        for path in (root / "masks").iterdir():
            Image.fromarray(np.zeros((6, 5), np.uint8)).save(path)

    refused_with("one class only ('0')", all_of_one_class)
    root = folder(tmp_path / "other", "masks")
    assert "a class for each pixel is for --task segmentation" in line(lambda: open_source(root, ClassIds()))
    (root / "images").rename(root / "cats")
    (root / "masks").rename(root / "dogs")
    assert "one class for each example is for --task classification" in line(lambda: open_source(root, Masks()))


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    root, secret = folder(tmp_path, "masks"), folder(tmp_path / "secret", "masks")
    (root / "masks" / "02.png").unlink()
    (root / "masks" / "02.png").symlink_to(secret / "masks" / "02.png")
    assert "is a link out of" in line(lambda: open_source(root, Masks()))
    for path in (root / "masks").iterdir():
        path.unlink()
    (root / "masks").rmdir()
    (root / "masks").symlink_to(secret / "masks")
    assert "is a link out of" in line(lambda: open_source(root, Masks()))


def test_images_and_masks_of_other_sizes_are_refused() -> None:
    pixels, masks = torch.zeros(2, 1, 3, 4), torch.zeros(2, 4, 3, dtype=torch.int64)
    said = line(lambda: Images(pixels, masks, ("a", "b")))
    assert said == "masks are 4 x 3, images 3 x 4 (height x width), expected the same size"


@pytest.mark.parametrize(
    "target", [torch.arange(12.0), torch.rand(12, 2, 8, 8), torch.rand(12, 8, 8), torch.rand(12, 3)]
)
def test_targets_of_any_form_stay_with_their_images(target: torch.Tensor) -> None:
    images = Images(torch.arange(12.0).view(12, 1, 1, 1).expand(12, 1, 8, 8).contiguous(), target, ())
    augmentation = Augmentation(flip=True)
    made = Batches(images, 4, augmentation=augmentation, mean=(0.0,), std=(1.0,), device="cpu")
    for batch, found in made.epoch(torch.Generator().manual_seed(0)):
        assert torch.equal(found, target[batch[:, 0, 0, 0].long()])
