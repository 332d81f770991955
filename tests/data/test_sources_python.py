"""Images and datasets from Python, and the Hub: what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import datasets
import pytest
import torch
from data_helpers import Listed, noise, random_images, refused
from PIL import Image
from torch.utils.data import IterableDataset, Subset

from poise.data import Images, open_source
from poise.errors import Refused


def test_images_in_memory() -> None:
    images, test = random_images(20), random_images(4)
    alone = open_source(images)
    assert not alone.has("test")
    assert torch.equal(alone.load("train").pixels, images.pixels)
    with pytest.raises(Refused, match=r"images has no test split; pass a pair \(train, test\)"):
        alone.load("test")
    assert len(open_source((images, test)).load("test")) == 4
    refused((images, Images(test.pixels, test.labels, ("x", "y"))), "the test images have classes")


ARRAYS = [noise(4, 5, 3, seed=index) for index in range(8)]
BYTES = [torch.from_numpy(array).permute(2, 0, 1) for array in ARRAYS]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([Image.fromarray(array) for array in ARRAYS], torch.stack(BYTES)),
        (BYTES, torch.stack(BYTES)),
        ([each.double() / 7 for each in BYTES], (torch.stack(BYTES).double() / 7).float()),
        ([each[0] for each in BYTES], torch.stack(BYTES)[:, :1]),
    ],
)
def test_torch_datasets(images: list, expected: torch.Tensor) -> None:
    dataset = Listed([(image, index % 2) for index, image in enumerate(images)])
    test = Listed(dataset.items[:3])
    source = open_source((dataset, test))
    found = source.load("train", torch.tensor([5, 0]))
    assert torch.equal(found.pixels, expected[[5, 0]])
    assert (found.labels.tolist(), source.names) == ([1, 0], ("0", "1"))
    assert torch.equal(source.load("train").pixels, expected)
    assert test.reads == 0
    assert len(source.load("test")) == 3
    assert len(open_source(Subset(dataset, [0, 1, 2, 3])).load("train")) == 4


def test_targets_spare_reading_every_item_and_are_checked() -> None:
    dataset = Listed([(image, index % 2) for index, image in enumerate(BYTES)])
    dataset.targets, dataset.classes = [0, 1] * 4, ["cat", "dog"]
    source = open_source(dataset)
    assert source.names == ("cat", "dog")
    assert dataset.reads == 2
    dataset.targets = [1, 0] * 4
    refused(dataset, "item 0 of the training dataset has label 0 now and 1 before")


class Endless(IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


def test_bad_torch_datasets_are_refused() -> None:
    refused(Endless(), "is a Endless, expected a map-style Dataset")
    refused(Listed([]), "the training dataset is empty")
    refused(Listed(BYTES), r"item 0 .* is \[3, 4, 5\] uint8, expected a pair \(inputs, target\)")
    refused(Listed([(image, "cat") for image in BYTES]), r"not integers \(found 'cat'\)")
    refused(Listed([(array, index % 2) for index, array in enumerate(ARRAYS)]), "is a ndarray, expected a PIL image")
    refused(
        Listed([(image.long(), index % 2) for index, image in enumerate(BYTES)]),
        r"Listed is rows of \[3, 4, 5\] int64, expected images",
    )
    mixed = [(torch.zeros(3, 4, 4 + index), index % 2) for index in range(4)]
    refused(Listed(mixed), r"item 0 is torch.float32 \[3, 4, 4\], item 1 is .*\[3, 4, 5\]", "train")
    train, test = Listed([(each, index % 2) for index, each in enumerate(BYTES)]), Listed([(BYTES[0].float(), 0)])
    refused((train, test), "has floats in 3 channels, the training split 8-bit values", "test")
    images = Listed([(Image.fromarray(array), 0) for array in ARRAYS])
    floats = Listed([(each.float(), index % 2) for index, each in enumerate(BYTES)])
    refused((floats, images), "holds 8-bit images, the training split floats in 3 channels", "test")


def hub_split(
    count: int, feature: Any = datasets.Image(), label: Any = datasets.ClassLabel(names=["cat", "dog"])
) -> Any:
    columns = {"image": [Image.fromarray(array) for array in ARRAYS[:count]], "kind": [i % 2 for i in range(count)]}
    if not isinstance(feature, datasets.Image):
        columns["image"] = ["x"] * count
    return datasets.Dataset.from_dict(columns, features=datasets.Features({"image": feature, "kind": label}))


def test_hub_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = datasets.DatasetDict({"train": hub_split(8), "validation": hub_split(3)})
    monkeypatch.setattr(datasets, "load_dataset", lambda name: splits if name == "owner/pets" else None)
    source = open_source("hf:owner/pets")
    assert (source.name, source.names) == ("hf:owner/pets", ("cat", "dog"))
    found = source.load("train", torch.tensor([5, 0]))
    assert torch.equal(found.pixels, torch.stack(BYTES)[[5, 0]])
    assert found.labels.tolist() == [1, 0]
    assert len(source.load("test")) == 3
    del splits["validation"]
    assert len(open_source("hf:owner/pets").load("test")) == 2


def test_bad_hub_datasets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "a/nosplit": {"other": hub_split(8)},
        "a/noimage": {"train": hub_split(8, feature=datasets.Value("string"))},
        "a/nolabel": {"train": hub_split(8, label=datasets.Value("int64"))},
    }

    def load(name: str) -> Any:
        if name not in answers:
            raise FileNotFoundError("it is not there\nmore about it")
        return answers[name]

    monkeypatch.setattr(datasets, "load_dataset", load)
    refused("hf:pets", "'hf:pets' is not the name of a Hub dataset, expected hf:owner/name")
    refused("hf:a/b", "cannot load hf:a/b: it is not there$")
    refused("hf:a/nosplit", "has the splits other, expected one called train")
    refused("hf:a/noimage", "has no Image column, found image, kind")
    refused("hf:a/nolabel", "has no ClassLabel column, found image, kind")
