"""A module of your own from search to export: what it is given, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import poise

TINY: dict[str, Any] = {"search.epochs": 1, "search.images_per_half": 32, "search.batch_size": 16}
TRAIN: dict[str, Any] = {"train.epochs": 1, "train.batch_size": 512}


def searched(module: nn.Module, **given: Any) -> poise.SearchResult:
    given = {"data": "digits", "method": "darts", "preset": "demo"} | given
    return poise.search(module, given.pop("data"), settings=TINY | given.pop("settings", {}), **given)


class Views(nn.Module):
    """A convolution whose output is viewed as rows: it must be contiguous, as PyTorch's own are."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.act = poise.Choice({"relu": nn.ReLU(inplace=True), "tanh": nn.Tanh()})
        self.head = nn.Linear(256, 10)

    def forward(self, images: Tensor) -> Tensor:
        assert images.stride() == (64, 64, 8, 1), "a plain contiguous batch was promised"
        rows: Tensor = images.view(images.size(0), -1)
        x = self.act(self.convolution(rows.view(-1, 1, 8, 8)))
        return self.head(x.view(x.size(0), -1))


def test_a_module_that_views_its_images_is_searched_trained_evaluated_and_exported(tmp_path: Path) -> None:
    result = searched(Views())
    assert all(weight.is_contiguous() for weight in result.supernet.parameters())
    network = poise.train(result, settings=TRAIN)
    assert all(weight.is_contiguous() for weight in network.network.parameters())
    assert poise.evaluate(network, "digits")["accuracy"] == pytest.approx(network.result["test_accuracy"], abs=1e-6)
    (file,) = poise.export(network, "onnx", tmp_path / "views")
    assert file.is_file()


def test_spaces_of_poise_keep_channels_last() -> None:
    space = poise.spaces.nasbench201(channels=2, cells=1)
    result = poise.search("digits", space=space, method="darts", preset="demo", settings=TINY)
    wide = [weight for weight in result.supernet.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1]
    assert wide
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in wide)


def test_the_module_that_comes_back_is_one_object() -> None:
    result = searched(Views())
    made = result.module
    assert result.module is made
    made.eval()
    assert not result.module.training
    optimizer = torch.optim.SGD(result.module.parameters(), lr=1.0)
    before = result.module.head.weight.detach().clone()  # type: ignore[union-attr,operator]
    result.module(torch.randn(4, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(result.module.head.weight, before)  # type: ignore[union-attr,arg-type]
