"""Any map-style torch Dataset of (image, label)."""

from __future__ import annotations

import operator
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from poise.data.arrays import as_tensors, is_image
from poise.data.decode import Encoded
from poise.data.labels import Labels
from poise.data.parts import EncodedPart, Part, TensorPart
from poise.data.sample_source import SampleSource, read_dataset
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource
from poise.errors import Refused


@SOURCES.add("torch")
class TorchDataset:
    """A torch Dataset of (image, label) or (inputs, target), or a pair (train, test) of them, from Python.

    Images are PIL images, uint8 tensors (0..255) of two or three axes, or float tensors of three, which are kept as
    they are; all else are samples: tensors, arrays or numbers, and tuples, lists or dicts of them. Items are read once,
    so the dataset's own transforms should not be random: augmentation belongs to the search.
    """

    form = "a torch Dataset or (train, test) of them from Python"

    @classmethod
    def matches(cls, spec: object) -> bool:
        pair = spec if isinstance(spec, tuple) and len(spec) == 2 else (spec,)
        return all(isinstance(dataset, Dataset) for dataset in pair)

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source | SampleSource:
        train, test = spec if isinstance(spec, tuple) else (spec, None)
        name = type(train).__name__
        names = tuple(str(each) for each in getattr(train, "classes", None) or ())
        _check(train, "the training dataset")
        if test is not None:
            _check(test, "the test dataset")
        if not _holds_images(train):
            read = read_dataset(train, labels, names, "the training dataset")
            tested = None if test is None else lambda: read_dataset(test, labels, names, "the test dataset")
            return SampleSource(name, labels, names, read, tested)
        part = _part(train, "the training dataset", labels)
        return SplitSource(
            name, labels, names, part, None if test is None else lambda: _part(test, "the test dataset", labels)
        )


def _check(dataset: Any, where: str) -> None:
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise Refused(
            f"{where} is a {type(dataset).__name__}, expected a map-style Dataset (with a length and indices)"
        )
    if not len(dataset):
        raise Refused(f"{where} is empty")


def _holds_images(dataset: Any) -> bool:
    """Whether its first item is an image; one that is an array is none that could be told from others."""
    item = dataset[0]
    first = item[0] if isinstance(item, tuple | list) and len(item) == 2 else None
    return isinstance(first, Image.Image) or (hasattr(first, "__array__") and is_image(as_tensors(first, "it")))


def _part(dataset: Any, where: str, labels: Labels) -> Part:
    known = _labels(dataset, where, labels)

    def image(row: int) -> Any:
        found, label = _item(dataset, row, where)
        if label != int(known[row]):
            raise Refused(f"item {row} of {where} has label {label} now and {int(known[row])} before")
        return found

    def fetch(rows: list[int]) -> list[Encoded]:
        return [_encoded(image(row), f"item {row} of {where}") for row in rows]

    def read(rows: Tensor) -> Tensor:
        return _stacked([image(row) for row in rows.tolist()], rows.tolist(), where)

    first = image(0)
    if isinstance(first, Image.Image):
        return EncodedPart(where, known, fetch)
    _checked(first, f"item 0 of {where}")
    return TensorPart(where, known, read)


def _labels(dataset: Any, where: str, labels: Labels) -> Tensor:
    """From ``targets`` or ``labels`` if the dataset has them (checked when images are read), else from every item."""
    if getattr(dataset, "target_transform", None) is None:
        for name in ("targets", "labels"):
            values = getattr(dataset, name, None)
            if isinstance(values, list | tuple | Tensor) or type(values).__module__ == "numpy":
                found = labels.read(values, where)
                if len(found) == len(dataset):
                    return found
    return labels.read([_item(dataset, row, where)[1] for row in range(len(dataset))], where)


def _item(dataset: Any, row: int, where: str) -> tuple[Any, int]:
    item = dataset[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise Refused(f"item {row} of {where} is a {type(item).__name__}, expected a pair (image, label)")
    try:
        return item[0], operator.index(item[1])
    except (TypeError, RuntimeError):
        raise Refused(f"labels of {where} are not integers (found {item[1]!r}), expected class ids from 0") from None


def _encoded(image: Any, name: str) -> Encoded:
    if not isinstance(image, Image.Image):
        raise Refused(f"{name} is a {type(image).__name__}, others are PIL images")
    return Encoded(name, image.copy)  # a copy: whoever opens it also closes it


def _checked(image: Any, name: str) -> Tensor:
    if not isinstance(image, Tensor):
        raise Refused(f"{name} is a {type(image).__name__}, expected a PIL image or a tensor")
    if image.ndim not in (2, 3) or not (image.dtype == torch.uint8 or image.is_floating_point()):
        raise Refused(f"{name} is {image.dtype} {list(image.shape)}, expected uint8 or float [channels, height, width]")
    with_channels = image if image.ndim == 3 else image[None]
    return with_channels if image.dtype == torch.uint8 else with_channels.float()


def _stacked(images: list[Any], rows: list[int], where: str) -> Tensor:
    tensors = [_checked(image, f"item {row} of {where}") for row, image in zip(rows, images, strict=True)]
    for row, tensor in zip(rows, tensors, strict=True):
        if tensor.shape != tensors[0].shape or tensor.dtype != tensors[0].dtype:
            raise Refused(
                f"images of {where} differ: item {rows[0]} is {tensors[0].dtype} {list(tensors[0].shape)}, "
                f"item {row} is {tensor.dtype} {list(tensor.shape)}; resize them in the dataset"
            )
    return torch.stack(tensors)
