"""Any source, and folders of image files: the test split is left alone until it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import class_folders, noise, refused
from PIL import Image

from poise.data import SOURCES, Source, open_source
from poise.errors import Refused


def test_every_kind_says_what_it_is_in_one_line() -> None:
    assert {"digits", "folder", "hub", "images", "npz", "parquet", "torch"} <= set(SOURCES)
    for kind in SOURCES.values():
        assert kind.form
        assert kind.__doc__.splitlines()[0].endswith(".")


def test_unknown_sources_are_refused_with_the_forms(tmp_path: Path) -> None:
    refused("digit", "unknown data source 'digit'; did you mean 'digits'")
    refused("no/such/folder", "no such file or folder: no/such/folder")
    refused(tmp_path / "x.npz", "no such file: ")
    refused(tmp_path / "x.parquet", "no such file: ")
    (tmp_path / "data.zip").write_bytes(b"")
    refused(tmp_path / "data.zip", r"unknown kind '.zip', expected one of: .*digits; ")
    refused(3, "cannot read data from int 3, expected one of: ")


def test_a_source_is_itself() -> None:
    source = open_source("digits")
    assert isinstance(source, Source)
    assert open_source(source) is source


def test_bad_requests_are_refused() -> None:
    source = open_source("digits")
    with pytest.raises(Refused, match="unknown split 'tests'; did you mean 'test'"):
        source.load("tests")
    with pytest.raises(Refused, match=r"indices span 0..9999, expected 0..1437"):
        source.load("train", torch.tensor([0, 9999]))
    with pytest.raises(Refused, match=r"indices are torch.float32"):
        source.load("train", torch.tensor([0.5]))
    with pytest.raises(Refused, match="no indices"):
        source.load("train", torch.tensor([], dtype=torch.int64))
    with pytest.raises(Refused, match="size is 0"):
        source.load("train", size=0)


def test_digits_match_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    source = open_source("digits")
    train, test = source.load("train"), source.load("test")
    assert (len(train), len(test), train.channels, train.size) == (1438, 359, 1, (8, 8))
    found = torch.cat([train.pixels, test.pixels]).flatten(1).tolist()
    expected = np.round(load_digits().data * 255 / 16).astype(int).tolist()
    assert sorted(found) == sorted(expected)
    assert torch.bincount(test.labels).min() >= 34
    assert torch.equal(open_source("digits").labels("test"), test.labels)


def test_class_folders_with_a_held_out_fifth(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", count=10)
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    source = open_source(str(root))
    assert (source.name, source.names) == ("pets", ("cat", "dog"))
    train, test = source.load("train"), source.load("test")
    assert torch.bincount(train.labels).tolist() == [8, 8]
    assert torch.bincount(test.labels).tolist() == [2, 2]
    seen = {image.numpy().tobytes() for image in torch.cat([train.pixels, test.pixels])}
    written = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in root.rglob("*.png")}
    assert seen == written


def test_only_the_images_asked_for_are_decoded(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "train")
    for path in [*root.glob("*/1.png"), *root.glob("*/0.png")]:
        path.write_bytes(b"broken")
    class_folders(tmp_path / "test")
    found = open_source(tmp_path).load("train", torch.tensor([7, 2]))
    assert np.array_equal(found.pixels[1].numpy(), noise(6, 6, 3, seed=2).transpose(2, 0, 1))
    assert found.labels.tolist() == [1, 0]
    refused(tmp_path, r"cannot read image .*cat/0.png", "train")


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_a_broken_test_split_is_harmless_until_it_is_loaded(tmp_path: Path, test_name: str) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / test_name, count=1)
    (tmp_path / test_name / "cat" / "0.png").write_bytes(b"not an image")
    source = open_source(tmp_path)
    assert source.has("test")
    assert len(source.load("train")) == 10
    assert len(source.labels("test")) == 2
    with pytest.raises(Refused, match=r"cannot read image .*0.png"):
        source.load("test")


def test_the_test_split_takes_the_channels_of_the_training_split(tmp_path: Path) -> None:
    for split, shape in (("train", (6, 6)), ("test", (6, 6, 3))):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(2):
                Image.fromarray(noise(*shape, seed=index)).save(tmp_path / split / name / f"{index}.png")
    source = open_source(tmp_path)
    assert (source.load("train").channels, source.load("test").channels) == (1, 1)


def test_the_test_split_must_have_the_size_of_the_training_split(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", side=5)
    refused(tmp_path, r"0.png is 6x6, .*0.png is 5x5 .*pass data.size", "test")
    assert open_source(tmp_path).load("test", size=3).size == (3, 3)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no class folders")
    refused(class_folders(tmp_path / "one", classes=("cat",)), r"one class only \('cat'\)")
    root = class_folders(tmp_path / "single")
    for index in range(1, 5):
        (root / "dog" / f"{index}.png").unlink()
    refused(root, "class 'dog' of single has a single example")
    (root / "dog" / "0.png").unlink()
    refused(root, "class folder .*dog holds no images")
    (root / "dog" / "notes.txt").write_text("x")
    refused(root, r"dog/notes.txt is not an image, expected .bmp")
    refused(class_folders(tmp_path / "tiny", count=2), "too few to hold some out")
    class_folders(tmp_path / "extra" / "train")
    class_folders(tmp_path / "extra" / "test", classes=("cat", "fox"))
    refused(tmp_path / "extra", r"unknown class folder of .*test 'fox' \(valid: cat, dog\)", "test")
