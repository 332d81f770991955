"""Parquet and numpy files: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_helpers import noise, png, refused

from poise.data import open_source, search_halves
from poise.errors import Refused

CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10"
needs_cifar10 = pytest.mark.skipif(not CIFAR10.is_dir(), reason="../shared/data/cifar10 is not on this machine")


def write_parquet(path: Path, count: int = 10, names: Any = None, **changes: Any) -> Path:
    cells = [{"bytes": png(noise(4, 4, 3, seed=index)), "path": f"{index}.png"} for index in range(count)]
    columns = {"img": pa.array(cells), "label": pa.array([index % 2 for index in range(count)])} | changes
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, row_group_size=3)
    return path


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", names=["cat", "dog"])
    write_parquet(tmp_path / "train-1.parquet", count=4, names=["cat", "dog"])
    write_parquet(tmp_path / "test.parquet", count=3)
    source = open_source(tmp_path)
    assert source.names == ("cat", "dog")
    found = source.load("train", torch.tensor([11, 3]))
    assert found.labels.tolist() == [1, 1]
    assert np.array_equal(found.pixels[0].numpy(), noise(4, 4, 3, seed=1).transpose(2, 0, 1))
    assert np.array_equal(found.pixels[1].numpy(), noise(4, 4, 3, seed=3).transpose(2, 0, 1))
    assert (len(source.labels("train")), len(source.load("test"))) == (14, 3)


def test_a_parquet_file_with_plain_bytes_and_other_names(tmp_path: Path) -> None:
    images = pa.array([png(noise(4, 4, seed=index)) for index in range(10)])
    labels = pa.array([index % 2 for index in range(10)], pa.int8())
    path = write_parquet(tmp_path / "x.parquet", img=None, label=None, image=images, fine_label=labels)
    source = open_source(path)
    assert (source.names, source.load("train").channels) == (("0", "1"), 1)
    assert (len(source.load("train")), len(source.load("test"))) == (8, 2)


def test_a_broken_parquet_test_file_is_harmless_until_it_is_asked_for(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet")
    (tmp_path / "test.parquet").write_bytes(b"not parquet")
    source = open_source(tmp_path)
    assert source.has("test")
    assert len(source.load("train")) == 10
    with pytest.raises(Refused, match=r"test.parquet is not a parquet file"):
        source.labels("test")


def test_bad_parquet_files_are_refused(tmp_path: Path) -> None:
    refused(write_parquet(tmp_path / "a.parquet", img=None), "no image column, expected .* found label")
    refused(write_parquet(tmp_path / "b.parquet", label=None), "no label column, expected .* found img")
    refused(write_parquet(tmp_path / "c.parquet", label=pa.array(["x"] * 10)), r"has one class only \('x'\)")
    refused(write_parquet(tmp_path / "d.parquet", label=pa.array([None, 1] * 5)), r"not integers \(found None\)")
    refused(write_parquet(tmp_path / "e.parquet", label=pa.array([-1, 1] * 5)), "label -1 of e is negative")
    refused(write_parquet(tmp_path / "f.parquet", names=["cat"]), r"label 1 of f is out of range, expected 0..0")
    refused(write_parquet(tmp_path / "g.parquet", label=pa.array([0, 10**12] * 5)), "is not a class id from 0")
    no_images = pa.array([], pa.struct([("bytes", pa.binary())]))
    refused(write_parquet(tmp_path / "h.parquet", count=0, img=no_images), "h holds no examples")
    refused(write_parquet(tmp_path / "i.parquet", img=pa.array([1] * 10)), "is int64, expected the bytes")
    broken = pa.array([{"bytes": b"no image"}] * 10)
    refused(write_parquet(tmp_path / "j.parquet", img=broken), "j.parquet has no image that can be read", "train")
    half = pa.array([{"bytes": png(noise(4, 4)) if index else None} for index in range(10)])
    refused(write_parquet(tmp_path / "k" / "train.parquet", img=half).parent, "row 0 of .* has no image bytes", "train")
    refused(write_parquet(tmp_path / "l" / "other.parquet").parent, r"holds other.parquet, expected files named train")
    write_parquet(tmp_path / "m" / "train.parquet")
    write_parquet(tmp_path / "m" / "test.parquet", label=pa.array([2] * 10))
    refused(tmp_path / "m", "the test split of m has examples of class 2, which the training split does not", "test")


@needs_cifar10
def test_cifar10() -> None:
    source = open_source(CIFAR10)
    assert source.names[:3] == ("airplane", "automobile", "bird")
    labels = source.labels("train")
    assert torch.bincount(labels).tolist() == [5000] * 10
    train, valid = search_halves(labels, seed=0, split_file=CIFAR10 / "split.json")
    assert (len(train), len(valid)) == (25000, 25000)
    found = source.load("train", train[:200], size=16)
    assert found.pixels.shape == (200, 3, 16, 16)
    whole = source.load("train", train[:200])
    np.testing.assert_allclose(
        found.pixels.numpy(), whole.pixels.numpy().reshape(200, 3, 16, 2, 16, 2).mean((3, 5)), atol=0.5001
    )
    assert labels[0] == 6  # the first training image of CIFAR-10 is a frog
    assert len(source.labels("test")) == 10000


LABELS = np.array([0, 1] * 5)


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("shape", "axes", "channels"),
    [((10, 6, 5), (0, 1, 2), 1), ((10, 6, 5, 3), (0, 3, 1, 2), 3), ((10, 4, 6, 5), (0, 1, 2, 3), 4)],
)
def test_layouts_of_arrays(tmp_path: Path, shape: tuple, axes: tuple, channels: int) -> None:
    array = noise(*shape)
    path = write_npz(tmp_path / "x.npz", x_train=array, y_train=LABELS[:, None], x_test=array[:2], y_test=LABELS[:2])
    source = open_source(path)
    expected = array.transpose(axes).reshape(10, channels, 6, 5)
    assert np.array_equal(source.load("train").pixels.numpy(), expected)
    assert np.array_equal(source.load("test").pixels.numpy(), expected[:2])


def test_float_arrays_are_kept(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(10, 4, 4))
    source = open_source(write_npz(tmp_path / "x.npz", images=array, labels=LABELS))
    train = source.load("train")
    assert train.pixels.dtype == torch.float32
    assert len(train) == 8
    assert {row.tobytes() for row in train.pixels.numpy()} <= {row.tobytes() for row in array.astype(np.float32)}


def test_a_bad_test_array_is_harmless_until_it_is_asked_for(tmp_path: Path) -> None:
    wrong = noise(10, 4, 4).astype(np.int64)
    path = write_npz(tmp_path / "x.npz", x_train=noise(10, 4, 4), y_train=LABELS, x_test=wrong, y_test=LABELS)
    source = open_source(path)
    assert len(source.load("train")) == 10
    with pytest.raises(Refused, match=r"'x_test' of x.npz is int64, expected uint8"):
        source.load("test")


def test_bad_arrays_are_refused(tmp_path: Path) -> None:
    good = noise(10, 4, 5)
    path = tmp_path / "x.npz"
    refused(write_npz(path, a=good), "holds a, expected x_train, y_train")
    refused(write_npz(path, images=good, labels=LABELS[:9]), "10 images in 'images' but 9 labels in 'labels'")
    refused(write_npz(path, images=good, labels=LABELS * 0.5), r"not integers \(found 0.0\)")
    refused(write_npz(path, images=noise(10, 3, 8, 3), labels=LABELS), "two axes could be the channels")
    refused(write_npz(path, images=noise(10, 8, 8, 2), labels=LABELS), "no axis has 1, 3 or 4 channels")
    refused(write_npz(path, images=noise(10, 8), labels=LABELS), r"has shape \[10, 8\]")
    refused(write_npz(path, images=good, labels=np.array([object()] * 10)), "cannot read 'labels'")
    refused(write_npz(path, x_train=good, y_train=LABELS, x_test=good), "only one of x_test, y_test")
    both = {"x_train": good, "y_train": LABELS, "x_test": noise(10, 6, 5, 3), "y_test": LABELS}
    refused(
        write_npz(path, **both), "has 8-bit values in 3 channels, the training split 8-bit values in 1 channel", "test"
    )
    refused(
        write_npz(path, **(both | {"x_test": noise(10, 3, 5)})),
        r"images differ in size: .* is 5x4, .* is 5x3 .*pass data.size",
        "test",
    )
    refused(write_npz(path, images=np.full((10, 4, 4), np.nan), labels=LABELS), "not finite", "train")
    path.write_bytes(b"nothing")
    refused(path, "is not a .npz file")
