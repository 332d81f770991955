"""Images with every kind of label, in every form that data comes in."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_helpers import noise
from PIL import Image
from torch.utils.data import Dataset

from poise.data import Images
from poise.data.labels import ClassSets, Labels, Masks, Numbers
from poise.errors import Refused

COUNT = 40
PIXELS = noise(COUNT, 6, 5, 3)
"""Unequal sides, so that rows and columns cannot be confused."""
SETS = torch.tensor([[row % 2, row % 3 == 0, row % 5 < 2] for row in range(COUNT)]).float()
NUMBERS = torch.stack([torch.arange(COUNT) / 8 - 1, 100.0 * (torch.arange(COUNT) % 7)], dim=1)
MASKS = torch.from_numpy(noise(COUNT, 6, 5, seed=1) % 3).long()
MASKS[:, 0, 0] = 255
KINDS: dict[str, tuple[Labels, torch.Tensor]] = {
    "sets": (ClassSets(), SETS),
    "numbers": (Numbers(), NUMBERS),
    "masks": (Masks(), MASKS),
}
NAMES = {"sets": ("ant", "bee", "cow"), "numbers": ("brightness", "weight"), "masks": ("0", "1", "2")}


def line(call: Callable[[], Any]) -> str:
    """What a refusal says; one line."""
    with pytest.raises(Refused) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def encoded(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def members(row: torch.Tensor) -> list[str]:
    return [name for name, there in zip(NAMES["sets"], row.tolist(), strict=True) if there]


def parquet(root: Path, kind: str) -> Path:
    columns: dict[str, Any] = {"image": [encoded(each) for each in PIXELS]}
    if kind == "sets":
        columns["labels"] = [members(row) for row in SETS]
    elif kind == "numbers":
        columns |= dict(zip(NAMES[kind], NUMBERS.T.tolist(), strict=True))
    else:
        columns["mask"] = [{"bytes": encoded(each.numpy().astype(np.uint8))} for each in MASKS]
    pq.write_table(pa.table(columns), root / "data.parquet")
    return root / "data.parquet"


def npz(root: Path, kind: str) -> Path:
    np.savez(
        root / "data.npz",
        images=PIXELS,
        labels=KINDS[kind][1].numpy().astype(np.float32 if kind == "numbers" else np.uint8),
    )
    return root / "data.npz"


def csv(root: Path, kind: str) -> Path:
    for row, image in enumerate(PIXELS):
        Image.fromarray(image).save(root / f"{row}.png")
        Image.fromarray(MASKS[row].numpy().astype(np.uint8)).save(root / f"mask{row}.png")
    cells = {
        "sets": ("label", ["|".join(members(row)) for row in SETS]),
        "numbers": (",".join(NAMES["numbers"]), [f"{a!r},{b!r}" for a, b in NUMBERS.tolist()]),
        "masks": ("mask", [f"mask{row}.png" for row in range(COUNT)]),
    }
    header, rows = cells[kind]
    text = f"file,{header}\n" + "".join(f"{row}.png,{cell}\n" for row, cell in enumerate(rows))
    (root / "data.csv").write_text(text)
    return root / "data.csv"


class Items(Dataset[Any]):
    """Pairs of what is given; counts what is read."""

    def __init__(self, inputs: list[Any], labels: list[Any], **attributes: Any) -> None:
        self.inputs, self.items, self.reads = inputs, labels, 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        self.reads += 1
        return self.inputs[row], self.items[row]


def tensors(root: Path, kind: str) -> Any:
    labels = {"sets": SETS.bool(), "numbers": NUMBERS.double(), "masks": MASKS.to(torch.uint8)}[kind]
    return Items([torch.from_numpy(each).permute(2, 0, 1) for each in PIXELS], list(labels))


def pictures(root: Path, kind: str) -> Any:
    labels: list[Any] = {
        "sets": [set(members(row)) for row in SETS],
        "numbers": [tuple(row) for row in NUMBERS.tolist()],
        "masks": [Image.fromarray(each.numpy().astype(np.uint8)) for each in MASKS],
    }[kind]
    return Items(
        [Image.fromarray(each) for each in PIXELS], labels, **({"classes": NAMES["sets"]} if kind == "sets" else {})
    )


def images(root: Path, kind: str) -> Images:
    return Images(torch.from_numpy(PIXELS).permute(0, 3, 1, 2).contiguous(), KINDS[kind][1], NAMES[kind])


def folder(root: Path, kind: str) -> Path:
    assert kind == "masks"
    for name in ("images", "masks"):
        (root / "both" / name).mkdir(parents=True)
    for row, image in enumerate(PIXELS):
        Image.fromarray(image).save(root / "both" / "images" / f"{row:02}.png")
        mask = Image.fromarray(MASKS[row].numpy().astype(np.uint8))
        if row % 2:
            mask.putpalette(list(range(256)) * 3)  # what a palette shows does not matter, the indices do
        mask.save(root / "both" / "masks" / f"{row:02}.png")
    return root / "both"


FORMS: dict[str, Callable[[Path, str], Any]] = {
    "parquet": parquet, "npz": npz, "csv": csv, "tensors": tensors, "pictures": pictures, "images": images,
    "folder": folder,
}  # fmt: skip
HOLD_OUT = ("parquet", "npz", "csv", "folder")
NAMED = ("parquet", "csv", "images")
CASES = [(form, kind) for form in FORMS for kind in KINDS if form != "folder" or kind == "masks"]
