"""Arrays that the program has in memory already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from poise.data.as_tensors import is_image
from poise.data.labels import Labels
from poise.data.parts import TensorPart
from poise.data.sample_source import SamplePart, SampleSource, read_split
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource
from poise.errors import Refused

CHANNELS = (1, 3, 4)
"""Axes of this many values last, and not first, are those of images that lie channels last."""


@SOURCES.add("arrays")
class Arrays:
    """Arrays or tensors ``(X, y)``, of which a fifth is held out, or ``((X, y), (X_test, y_test))``, from Python.

    ``X`` is one of ``[n, ...]``, or a tuple, list or dict of several. 8-bit values of two or three axes per row, and
    floats of three, are images: ``[n, height, width]``, ``[n, channels, height, width]`` or, with 1, 3 or 4 channels,
    ``[n, height, width, channels]``.
    """

    form = "arrays (X, y) or ((X, y), (X_test, y_test)) from Python"

    @classmethod
    def matches(cls, spec: object) -> bool:
        leaves = tree_leaves(spec) if isinstance(spec, tuple) and len(spec) > 1 else []
        return bool(leaves) and all(_is_array(leaf) for leaf in leaves)

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source | SampleSource:
        train, test = _splits(spec)
        read = read_split(*train, labels, (), "the arrays" if test is None else "the training arrays")
        tested = None if test is None else lambda: read_split(*test, labels, (), "the test arrays")
        if isinstance(read.inputs, Tensor) and is_image(read.inputs[0]):
            images = None if tested is None else lambda: _part(tested())
            return SplitSource.with_test("arrays", labels, (), _part(read), images)
        return SampleSource.with_test("arrays", labels, (), read, tested)


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | bool | int | float) or hasattr(value, "__array__")


def _splits(spec: Any) -> tuple[tuple[Any, Any], tuple[Any, Any] | None]:
    pairs = [isinstance(each, tuple) and len(each) == 2 for each in spec]
    if len(spec) != 2:
        raise Refused(f"a tuple of {len(spec)} arrays, expected (X, y) or ((X, y), (X_test, y_test))")
    return spec if all(pairs) else (spec, None)


def _part(split: SamplePart) -> TensorPart:
    pixels = split.inputs if split.inputs.dtype == torch.uint8 else split.inputs.float()
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[3] in CHANNELS and pixels.shape[1] not in CHANNELS:
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    return TensorPart(split.where, split.labels, pixels.__getitem__)
