"""Small images and files to test with."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from poise.data import Images, open_source
from poise.errors import Refused


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def random_images(count: int = 20, channels: int = 3, height: int = 8, width: int = 8, classes: int = 2) -> Images:
    pixels = torch.from_numpy(noise(count, channels, height, width))
    return Images(pixels, torch.arange(count) % classes, tuple(f"class{index}" for index in range(classes)))


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that says it is this large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def class_folders(root: Path, count: int = 5, classes: tuple[str, ...] = ("cat", "dog"), side: int = 6) -> Path:
    for position, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(noise(side, side, 3, seed=100 * position + index)).save(root / name / f"{index}.png")
    return root


def refused(spec: Any, message: str, split: str | None = None) -> None:
    """Opening ``spec`` (or loading its ``split``) raises one line that matches ``message``."""
    source = open_source(spec) if split else None
    with pytest.raises(Refused, match=message) as caught:
        source.load(split) if source else open_source(spec)
    assert "\n" not in str(caught.value)


class Listed(Dataset):
    """A list of items that counts how often it is read."""

    def __init__(self, items: list) -> None:
        self.items = items
        self.reads = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return self.items[index]
