"""Data as people have it: what is left out, what is found in two splits, what is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_helpers import class_folders, noise, png, random_images, refused
from PIL import Image

from counted import counted_calls
from poise.data import Augmentation, Batches, Images, open_source, overlap
from poise.errors import Refused


def test_bad_images_are_left_out_and_listed(tmp_path: Path) -> None:
    train, test = class_folders(tmp_path / "train"), class_folders(tmp_path / "test")
    cut = train / "dog" / "3.png"
    cut.write_bytes(cut.read_bytes()[:60])
    (test / "cat" / "1.png").write_bytes(b"")
    source = open_source(tmp_path, skip_bad_images=True)
    assert source.labels("train").tolist() == [0] * 5 + [1] * 4
    assert [name for name, _ in source.skipped] == [str(cut)]
    assert len(source.load("train")) == 9
    expected = np.asarray(Image.open(train / "dog" / "4.png")).transpose(2, 0, 1)
    assert np.array_equal(source.load("train").pixels[-1].numpy(), expected)
    assert len(source.load("test")) == 9  # the test split is looked through when it is opened, not before
    assert [name for name, _ in source.skipped] == [str(cut), str(test / "cat" / "1.png")]
    assert all(reason for _, reason in source.skipped)


def test_bad_rows_are_left_out_of_parquet_files(tmp_path: Path) -> None:
    cells = [png(noise(4, 4, seed=index)) for index in range(12)]
    cells[4], cells[7] = b"no image", None
    pq.write_table(pa.table({"img": cells, "label": [0, 1] * 6}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"img": cells[:4], "label": [0, 1] * 2}), tmp_path / "test.parquet")
    refused(tmp_path, "row 4 of train.parquet", "train")
    source = open_source(tmp_path, skip_bad_images=True)
    found = source.load("train")
    assert np.array_equal(found.pixels[4, 0].numpy(), noise(4, 4, seed=5))
    assert found.labels.tolist() == [0, 1, 0, 1, 1, 0, 0, 1, 0, 1]
    assert [name for name, _ in source.skipped] == ["row 4 of train.parquet", "row 7 of train.parquet"]


def test_a_held_out_split_is_looked_through_too(tmp_path: Path) -> None:
    root = class_folders(tmp_path, count=10)
    for path in root.rglob("[0-4].png"):
        path.write_bytes(b"broken")
    source = open_source(root, skip_bad_images=True)
    assert len(source.load("train")) + len(source.load("test")) == 10 == len(source.skipped)


def test_what_is_left_must_still_train(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "train")
    class_folders(tmp_path / "test")
    for path in (root / "dog").glob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(Refused, match="has one class only"):
        open_source(tmp_path, skip_bad_images=True)
    root = class_folders(tmp_path / "gone" / "train")
    class_folders(tmp_path / "gone" / "test")
    for path in root.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(Refused, match="holds no examples"):
        open_source(tmp_path / "gone", skip_bad_images=True)


def test_nothing_is_skipped_where_nothing_is_bad(tmp_path: Path) -> None:
    images = random_images(40)
    for spec in (class_folders(tmp_path), (images, images), "digits"):
        source, skipping = open_source(spec), open_source(spec, skip_bad_images=True)
        assert torch.equal(source.load("train").pixels, skipping.load("train").pixels)
        assert torch.equal(source.load("test").pixels, skipping.load("test").pixels)
        assert skipping.skipped == []


def test_a_source_of_ones_own_cannot_skip() -> None:
    class Own:
        name, names = "own", ("a", "b")

        def has(self, split: str) -> bool:
            return True

        labels = load = has

    assert open_source(Own()).name == "own"
    with pytest.raises(Refused, match=r"skip_bad_images .* \(Own\)"):
        open_source(Own(), skip_bad_images=True)


def test_overlap_counts_test_images_that_are_trained_on() -> None:
    train, test = random_images(20), Images(torch.from_numpy(noise(6, 3, 8, 8, seed=9)), torch.zeros(6).long(), ("a",))
    assert overlap(train, test) == 0
    assert overlap(train, train.subset(torch.tensor([3, 3, 5]))) == 3
    copied = test.pixels.clone()
    copied[2], copied[4] = train.pixels[7], train.pixels[0]
    assert overlap(train, Images(copied, test.labels, test.names)) == 2
    copied[2, 0, 0, 0] += 1
    assert overlap(train, Images(copied, test.labels, test.names)) == 1
    floats = Images(train.pixels.float(), train.labels, train.names)
    assert overlap(floats, floats) == 20
    assert overlap(train, floats) == 0
    transposed = Images(train.pixels.permute(0, 1, 3, 2), train.labels, train.names)
    assert overlap(train, transposed) == 0
    assert overlap(transposed, train) == 0
    assert overlap(transposed, transposed) == 20
    strided = Images(train.pixels[:, :1, :1, ::2], train.labels, train.names)
    assert overlap(strided, strided) == 20


def test_overlap_looks_at_every_image_once() -> None:
    train = Images(torch.randint(256, (1000, 3, 8, 8), dtype=torch.uint8), torch.zeros(1000).long(), ("a",))
    test = train.subset(torch.arange(200))
    with counted_calls() as calls:
        assert overlap(train, test) == 200
    assert calls() < 10 * (1000 + 200)


def test_constant_channels_stay_finite() -> None:
    pixels = random_images(20).pixels.clone()
    pixels[:, 1] = 0
    for images in (
        Images(pixels, torch.arange(20) % 2, ("a", "b")),
        Images(torch.zeros(20, 3, 8, 8), torch.arange(20) % 2, ("a", "b")),
    ):
        mean, std = images.statistics()
        batches = Batches(images, 10, augmentation=Augmentation(), mean=mean, std=std, device="cpu")
        for batch, _ in batches.ordered():
            assert torch.isfinite(batch).all()
            assert (batch[:, 1] == 0).all()


def test_class_names_that_differ_in_case_are_refused(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "train", classes=("Cat", "cat", "dog"))
    if len(list(root.iterdir())) < 3:
        pytest.skip("this file system does not tell case apart")
    refused(tmp_path / "train", "class folders 'Cat' and 'cat' of .* differ in case only")
    class_folders(tmp_path / "pets" / "train")
    class_folders(tmp_path / "pets" / "test", classes=("Cat", "dog"))
    refused(tmp_path / "pets", "'Cat'; did you mean 'cat'?", "test")


def test_class_names_that_are_the_same_are_refused() -> None:
    images = random_images(20)
    with pytest.raises(Refused, match="images has two classes named 'a'"):
        open_source((Images(images.pixels, images.labels, ("a", "a")),) * 2)


def test_a_class_may_be_missing_from_the_test_split(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", classes=("ant", "cat", "dog"))
    class_folders(tmp_path / "test", classes=("cat",))
    found = open_source(tmp_path).load("test")
    assert found.labels.tolist() == [1] * 5
    assert found.names == ("ant", "cat", "dog")


@pytest.mark.parametrize("size", [8193, 10**12])
def test_an_absurd_size_is_refused(size: int) -> None:
    with pytest.raises(Refused, match=f"size is {size}, expected a side in pixels: at most 8192"):
        open_source("digits").load("train", size=size)


def test_more_than_the_memory_is_refused() -> None:
    pixel = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    images = Images(pixel.expand(1_000_000, 3, 1, 1), torch.arange(1_000_000) % 2, ("a", "b"))
    with pytest.raises(Refused, match=r"1000000 images of 8192x8192 need 187500 GiB, this machine has .* data.size"):
        open_source(images).load("train", size=8192)


def test_labels_of_several_lengths_are_refused(tmp_path: Path) -> None:
    table = pa.table({"img": [png(noise(4, 4))] * 4, "label": [[0], [1, 2], [0], [1]]})
    pq.write_table(table, tmp_path / "x.parquet")
    refused(tmp_path / "x.parquet", "labels of x.parquet differ in length")
