"""Any map-style torch Dataset of (image, label)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from poise.data.as_tensors import as_tensors, is_image
from poise.data.decode import Encoded
from poise.data.labels import ClassSets, Labels, Masks
from poise.data.masked import Mask, MaskedPart, mask_values
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
        given = tuple(str(each) for each in getattr(train, "classes", None) or ())
        _check(train, "the training dataset")
        if test is not None:
            _check(test, "the test dataset")
        if not _holds_images(train):
            read = read_dataset(train, labels, given, "the training dataset")
            tested = None if test is None else lambda: read_dataset(test, labels, given, "the test dataset")
            return SampleSource(name, labels, given, read, tested)
        part = _part(train, "the training dataset", labels, given)
        names = given or (part.names if isinstance(part, MaskedPart) else labels.names(part.labels, (), name))
        return SplitSource(
            name, labels, names, part, None if test is None else lambda: _part(test, "the test dataset", labels, names)
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


def _part(dataset: Any, where: str, labels: Labels, names: tuple[str, ...]) -> Part:
    first, label = _item(dataset, 0, where)
    if isinstance(labels, Masks) and isinstance(first, Image.Image):
        return _masked(dataset, where, labels, names)
    known = _labels(dataset, where, labels, names)
    if not isinstance(known, Tensor):
        raise Refused(f"targets of {where} are {type(known).__name__}s, expected one tensor or number for each image")
    same = names or labels.names(known, (), where)

    def check(row: int, label: Any) -> None:
        if isinstance(labels, ClassSets) and not isinstance(label, Tensor | np.ndarray):
            return  # of one list alone it cannot be told whether it holds ids, or 0 and 1 for each class
        now = labels.read([_plain(label, labels, f"item {row} of {where}")], where, same)[0]
        if not torch.equal(now, known[row]):
            raise Refused(f"item {row} of {where} has label {_said(now)} now and {_said(known[row])} before")

    def image(row: int) -> Any:
        found, label = _item(dataset, row, where)
        check(row, label)
        return found

    check(0, label)

    def read(rows: Tensor) -> Tensor:
        return _stacked([image(row) for row in rows.tolist()], rows.tolist(), where)

    if isinstance(first, Image.Image):
        return EncodedPart(where, known, lambda rows: [_encoded(image(row), f"item {row} of {where}") for row in rows])
    _checked(first, f"item 0 of {where}")
    return TensorPart(where, known, read)


def _masked(dataset: Any, where: str, labels: Masks, names: tuple[str, ...]) -> MaskedPart:
    def image(row: int) -> Encoded:
        return _encoded(_item(dataset, row, where)[0], f"item {row} of {where}")

    def mask(row: int) -> Mask:
        name = f"of item {row} of {where}"
        return Mask(name, lambda: mask_values(_item(dataset, row, where)[1], name))

    return MaskedPart.of(
        where, len(dataset), lambda rows: list(map(image, rows)), lambda rows: list(map(mask, rows)), labels, names
    )


def _labels(dataset: Any, where: str, labels: Labels, names: tuple[str, ...]) -> Tensor:
    """From ``targets`` or ``labels`` if the dataset has them (checked when images are read), else from every item."""
    if getattr(dataset, "target_transform", None) is None:
        for name in ("targets", "labels"):
            values = getattr(dataset, name, None)
            if isinstance(values, list | tuple | Tensor) or type(values).__module__ == "numpy":
                found = labels.read(values, where, names)
                if len(found) == len(dataset):
                    return found
    items = [_plain(_item(dataset, row, where)[1], labels, f"item {row} of {where}") for row in range(len(dataset))]
    return labels.read(items, where, names)


def _item(dataset: Any, row: int, where: str) -> tuple[Any, Any]:
    item = dataset[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise Refused(f"item {row} of {where} is a {type(item).__name__}, expected a pair (image, label)")
    return item[0], item[1]


def _plain(label: Any, labels: Labels, where: str) -> Any:
    """A label as `Labels.read` takes it in a list: a number, what several are written as, or an array of a mask."""
    if isinstance(labels, Masks):
        return mask_values(label, f"of {where}")
    return label.item() if isinstance(label, Tensor | np.ndarray | np.generic) and label.ndim == 0 else label


def _said(label: Tensor) -> str:
    return str(label.tolist() if label.numel() > 1 else label.item())[:40]


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
