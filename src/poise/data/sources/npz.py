"""Arrays saved by numpy."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poise.data.labels import Labels
from poise.data.parts import TensorPart
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource, held_out
from poise.errors import Refused
from poise.named import path_of

CHANNELS = (1, 3, 4)
MAX_BYTES = 2**34  # of one array, uncompressed: 16 GiB
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@SOURCES.add("npz")
class Npz:
    """A .npz file with x_train, y_train (and x_test, y_test), or images, labels (a fifth held out)."""

    form = "a .npz file"

    @classmethod
    def matches(cls, spec: object) -> bool:
        path = path_of(spec)
        return path is not None and path.suffix == ".npz"

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        path = Path(str(spec)).expanduser()
        if not path.is_file():
            raise Refused(f"no such file: {path}")
        found = _keys(path)
        if {"x_train", "y_train"} <= found:
            train = _part(path, "x_train", "y_train", labels)
            if {"x_test", "y_test"} <= found:
                names = labels.names(train.labels, (), path.name)
                return SplitSource(
                    path.stem, labels, names, train, lambda: _part(path, "x_test", "y_test", labels, names)
                )
            if found & {"x_test", "y_test"}:
                raise Refused(f"{path} has only one of x_test, y_test, expected both or neither")
            return held_out(path.stem, labels, (), train)
        if {"images", "labels"} <= found:
            return held_out(path.stem, labels, (), _part(path, "images", "labels", labels))
        shown = ", ".join(sorted(found)) or "nothing"
        raise Refused(f"{path} holds {shown}, expected x_train, y_train (and x_test, y_test) or images, labels")


def _keys(path: Path) -> set[str]:
    with _opened(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def _array(path: Path, key: str) -> NDArray[Any]:
    """The array of this name, which must be as large as the archive says: nothing is allocated on trust."""
    try:
        with _opened(path) as archive:
            member = archive.getinfo(f"{key}.npy")
            if member.file_size > MAX_BYTES:
                raise Refused(f"{key!r} of {path} holds {member.file_size} bytes, more than the limit of {MAX_BYTES}")
            with archive.open(member) as stream:
                read = HEADERS.get(np.lib.format.read_magic(stream))
                if read is None:
                    raise ValueError("an array format of unknown version")
                shape, _, dtype = read(stream)
                if dtype.hasobject:
                    raise ValueError("it holds Python objects, which are never loaded")
                declared, held = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
                if declared != held:
                    raise ValueError(f"it says that it holds {declared} bytes, but holds {held}")
            with archive.open(member) as stream:
                return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except Refused:
        raise
    except Exception as error:  # damaged files make zipfile, the decompressors and numpy raise errors of all kinds
        raise Refused(f"cannot read {key!r} of {path}: {str(error) or type(error).__name__}") from None


def _opened(path: Path) -> zipfile.ZipFile:
    """The archive. Its members are read in memory and never extracted, so their paths do not matter."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, EOFError) as error:
        raise Refused(f"{path} is not a .npz file: {error}") from None


def _part(path: Path, images: str, key: str, labels: Labels, names: tuple[str, ...] = ()) -> TensorPart:
    where = f"{images!r} of {path.name}"
    pixels = _channels_first(_array(path, images), where)
    read = labels.read(_array(path, key), f"{key!r} of {path.name}", names)
    if len(pixels) != len(read):
        raise Refused(f"{path} has {len(pixels)} images in {images!r} but {len(read)} labels in {key!r}")
    if labels.dense and len(read) and read.shape[1:] != pixels.shape[2:]:
        sides = [" x ".join(map(str, each.shape[-2:])) for each in (read, pixels)]
        raise Refused(f"{path}: masks are {sides[0]}, images {sides[1]} (height x width), expected the same size")
    return TensorPart(where, read, pixels.__getitem__)


def _channels_first(array: NDArray[Any], where: str) -> Tensor:
    """``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` to the last; c is told by its size, 1, 3 or 4."""
    if array.dtype == np.uint8:
        pixels = torch.from_numpy(array)
    elif array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinity, which is refused when it is loaded
            pixels = torch.from_numpy(array.astype(np.float32))
    else:
        raise Refused(f"{where} is {array.dtype}, expected uint8 (0..255) or floats")
    shape = list(array.shape)
    if 0 in shape[1:]:
        raise Refused(f"{where} has shape {shape}: images without pixels")
    if array.ndim == 3:
        return pixels[:, None]
    if array.ndim != 4:
        raise Refused(f"{where} has shape {shape}, expected [n, h, w], [n, h, w, channels] or [n, channels, h, w]")
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first and last:
        raise Refused(f"{where} has shape {shape}: two axes could be the channels; only one may have size 1, 3 or 4")
    if not first and not last:
        raise Refused(f"{where} has shape {shape}: no axis has 1, 3 or 4 channels")
    return pixels if first else pixels.permute(0, 3, 1, 2).contiguous()
