"""A batch of one, where the network normalises by batches: one line, before data is read; never a raw error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import poise
from poise.errors import Refused
from poise.spaces.space import SPACES

NOT_READ = "no-such-data.npz"
"""Data that would be refused if it were opened."""


class Net(nn.Module):
    """The digits to ten classes, with or without batch normalisation."""

    def __init__(self, norm: nn.Module, first: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.choice = poise.Choice({"a": nn.Linear(64, 8), "b": nn.Linear(64, 8)})
        self.norm, self.head, self.first = norm, nn.Linear(8, 10), first

    def forward(self, images: Tensor) -> Tensor:
        x = self.choice(images.flatten(1))
        return self.head(self.norm(x))


class OneByOne(nn.Module):
    """Normalises every image on its own, by batch statistics of one value per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.late = False

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(each[None]) for each in x]) if self.late else self.norm(x)


@pytest.mark.parametrize("space", list(SPACES))
def test_every_space_refuses_a_search_with_batches_of_one(space: str) -> None:
    with pytest.raises(Refused, match=r"search\.batch_size.* 2 or more") as refused:
        poise.search(NOT_READ, space=space, method="darts", preset="demo", settings={"search.batch_size": 1})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("auxiliary", [0.0, 0.4])
def test_a_training_with_batches_of_one_is_refused(auxiliary: float, tmp_path: Path) -> None:
    genotype = poise.Genotype("darts", {"normal": {"0->2": ("skip_connect",)}, "reduce": {"0->2": ("skip_connect",)}})
    settings: dict[str, Any] = {"train.batch_size": 1, "train.auxiliary": auxiliary}
    with pytest.raises(Refused, match=r"train\.batch_size is 1, but batch normalisation"):
        poise.train(genotype, NOT_READ, preset="demo", settings=settings, out=tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_module_of_one_s_own_is_refused_only_if_it_normalises_by_batches() -> None:
    settings: dict[str, Any] = {"search.batch_size": 1, "search.epochs": 1, "search.images_per_half": 8}
    with pytest.raises(Refused, match=r"search\.batch_size is 1, but"):
        poise.search(Net(nn.BatchNorm1d(8)), NOT_READ, method="darts", preset="demo", settings=settings)
    found = poise.search(Net(nn.LayerNorm(8)), "digits", method="darts", preset="demo", settings=settings)
    assert len(found.history) == 1
    with pytest.raises(Refused, match=r"train\.batch_size is 1, but"):
        poise.train(
            poise.Genotype("custom", {"choice": {"choice": ("a",)}}), NOT_READ, module=Net(nn.BatchNorm1d(8)),
            preset="demo", settings={"train.batch_size": 1},
        )  # fmt: skip


def test_a_module_that_comes_to_one_value_in_its_own_way_is_refused_in_one_line() -> None:
    module = Net(OneByOne())
    genotype = poise.Genotype("custom", {"choice": {"choice": ("a",)}})
    settings = {"train.epochs": 1, "train.batch_size": 16}
    poise.train(genotype, "digits", module=module, preset="demo", settings=settings)
    module.norm.late = True
    with pytest.raises(Refused, match="value per channel"):
        poise.train(genotype, "digits", module=module, preset="demo", settings=settings)
    with pytest.raises(Refused, match="value per channel"):
        poise.search(module, "digits", method="darts", preset="demo", settings={"search.epochs": 1})


def test_an_uneven_last_image_and_maps_of_one_pixel_are_no_trouble() -> None:
    """Halves and a test split of which one image is left over, and an auxiliary head on maps of one pixel."""
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> poise.Images:
        pixels = torch.randint(0, 256, (count, 3, 4, 4), dtype=torch.uint8, generator=generator)
        return poise.Images(pixels, torch.arange(count) % 2, ("a", "b"))

    data = (images(66), images(17))  # halves of 33
    settings: dict[str, Any] = {"search.epochs": 1, "search.batch_size": 16, "train.epochs": 1, "train.batch_size": 5}
    settings |= {"train.channels": 2, "train.cells": 3, "train.auxiliary": 0.4, "search.crop_padding": 0}
    settings |= {"train.crop_padding": 0, "train.drop_path": 0.0}
    space = poise.spaces.darts(channels=2, cells=3)
    found = poise.search(data, space=space, method="darts", preset="demo", settings=settings)
    numbers = poise.diagnose(found, ["discretisation"], data=data, batches=3).numbers
    assert 0 <= numbers["discretisation/accuracy"] <= 1
    trained = poise.train(found, data)
    assert 0 <= trained.result["test_accuracy"] <= 1
