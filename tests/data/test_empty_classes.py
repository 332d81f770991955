"""Labels that begin at 1, and classes without images: said, whatever the labels came from."""

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
from PIL import Image
from torch.utils.data import Dataset

import poise
from poise.config.resolve import resolve
from poise.data import TextSource, open_data
from poise.data.labels import ClassIds
from poise.engine.events import Event, Noted
from poise.tasks.sources import notes_on
from poise.workflow.prepare import Preparation

COUNT = 40


def labels(low: int) -> torch.Tensor:
    return torch.arange(COUNT) % 3 + low


def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (COUNT, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def npz(root: Path, low: int) -> Path:
    np.savez(root / "data.npz", images=pixels().numpy(), labels=labels(low).numpy())
    return root / "data.npz"


def npz_with_test(root: Path, low: int) -> Path:
    arrays = {"x_train": pixels(), "y_train": labels(low), "x_test": pixels(), "y_test": labels(low)}
    np.savez(root / "data.npz", **{name: values.numpy() for name, values in arrays.items()})
    return root / "data.npz"


def parquet(root: Path, low: int) -> Path:
    def png(values: torch.Tensor) -> bytes:
        file = io.BytesIO()
        Image.fromarray(values.numpy()).save(file, "png")
        return file.getvalue()

    table = pa.table({"img": [png(each[0]) for each in pixels()], "label": labels(low).tolist()})
    pq.write_table(table, root / "data.parquet")
    return root / "data.parquet"


class Numbered(Dataset):  # type: ignore[type-arg]
    def __init__(self, low: int) -> None:
        self.targets = labels(low).tolist()

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return pixels()[row], self.targets[row]


def images(root: Path, low: int) -> poise.Images:
    return poise.Images(pixels(), labels(low), tuple(str(index) for index in range(3 + low)))


SOURCES: dict[str, Callable[[Path, int], Any]] = {
    "npz": npz,
    "npz with test": npz_with_test,
    "parquet": parquet,
    "torch dataset": lambda root, low: Numbered(low),
    "pair": lambda root, low: (Numbered(low), Numbered(low)),
    "Images": images,
}


def notes(data: Any) -> list[str]:
    source: Any = open_data(data)
    return list(notes_on(source, ClassIds()))


@pytest.mark.parametrize("source", SOURCES)
def test_labels_from_1_are_said_to_leave_class_0_empty(source: str, tmp_path: Path) -> None:
    (text,) = notes(SOURCES[source](tmp_path, 1))
    assert "run from 1 to 3, but class ids count from 0, so class 0 has no example" in text
    assert "the network has 4 outputs all the same: subtract 1 from the labels" in text
    assert "\n" not in text


@pytest.mark.parametrize("source", SOURCES)
def test_labels_from_0_are_nothing_to_say(source: str, tmp_path: Path) -> None:
    assert notes(SOURCES[source](tmp_path, 0)) == []


def test_other_gaps_and_names() -> None:
    def said(values: list[int], *names: str) -> str | None:
        return ClassIds().note(torch.tensor(values), names, "x")

    assert said([0, 1, 2], "a", "b", "c") is None
    three = said([3, 4, 3, 4], "0", "1", "2", "3", "4")
    assert three is not None
    assert "run from 3 to 4" in three
    assert "classes 0 to 2 have no example" in three
    assert "5 outputs" in three
    assert "subtract 3" in three
    gap = said([0, 2, 0, 2], "0", "1", "2")
    assert gap is not None
    assert "1 of the 3 classes of x have no example to train on ('1')" in gap
    assert "subtract" not in gap
    named = said([1, 2, 1, 2], "cat", "dog", "eel")
    assert named is not None
    assert "('cat')" in named
    many = said([9, 9], *map(str, range(100)))
    assert many is not None
    assert "99 of the 100" in many
    assert ", ...)" in many


def test_text_has_no_classes(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text("the cat sat on the mat\n" * 20)
    material = Preparation.of(resolve(space="recurrent", preset="demo", data=tmp_path)).material
    assert isinstance(material.source, TextSource)
    assert list(material.notes()) == []


def test_a_search_and_a_training_say_it(tmp_path: Path) -> None:
    heard: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Noted):
            heard.append(event.message)

    space = poise.spaces.nasbench201(channels=2, cells=1)
    settings = {"search.epochs": 1, "search.batch_size": 8, "train.epochs": 1, "train.batch_size": 8}
    settings |= {"train.channels": 2, "train.cells": 1}
    data = images(tmp_path, 1)
    for out in (None, tmp_path / "run"):
        found = poise.search(
            data, space=space, method="darts", preset="demo", settings=settings, out=out, listen=listen
        )  # fmt: skip
        assert sum("class 0 has no example" in text for text in heard) == 1
        heard.clear()
    poise.train(found, data, listen=listen)
    assert sum("class 0 has no example" in text for text in heard) == 1
