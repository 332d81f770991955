"""Networks with their head apart compute what they computed, and do what timm's training code asks of a model."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from own_module import Net
from torch import nn
from torch.nn import functional as F

import poise
from poise.errors import Refused
from poise.spaces import SPACES
from poise.spaces.forms import Formed, network_of
from poise.spaces.space import ImageShape, genotype_of, shape_kind
from poise.workflow.create import Features, ImageModel, feature_info

TINY: dict[str, Any] = {
    "space.channels": 2, "space.cells": 1, "search.epochs": 1, "search.images_per_half": 40, "search.batch_size": 20,
    "train.epochs": 1, "train.channels": 2, "train.cells": 1, "train.batch_size": 400,
}  # fmt: skip
IMAGE_SPACES = [name for name, space in SPACES.items() if shape_kind(space) is ImageShape]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("create") / "run"
    found = poise.search(
        "digits", space="nasbench201", method="darts", settings=TINY, device="cpu", out=out, listen=poise.ignore
    )
    poise.train(found, out=out / "net", listen=poise.ignore)
    return out


def some(name: str) -> Any:
    """Some genotype of a space."""
    groups, draw = SPACES[name]().groups, random.Random(3)
    for _ in range(100):
        kept = {
            g.name: tuple(tuple(draw.sample(range(len(row.candidates)), max(1, g.min_kept))) for row in g.rows)
            for g in groups
        }
        genotype = genotype_of(name, kept, groups)
        try:
            SPACES[name]().check(genotype)
        except Refused:
            continue
        return genotype
    raise AssertionError(name)


def seeded(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What it puts out, with the same noise every time."""
    torch.manual_seed(1)
    return network(images)


@pytest.mark.parametrize("name", IMAGE_SPACES)
def test_every_network_of_every_space_is_its_maps_and_its_head(name: str) -> None:
    space = SPACES[name]()
    for form in space.forms if isinstance(space, Formed) else (None,):
        side = 64 if form == "imagenet" else 32
        shape = ImageShape(3, (side, side), 5)
        cells = 1 if name == "nasbench201" else None if name == "mobile" else 3
        torch.manual_seed(0)
        network: Any = network_of(space, some(name), shape, form=form, channels=8, cells=cells, auxiliary=False).eval()
        images = torch.randn(2, 3, side, side)
        expected = seeded(network, images)
        maps = network.maps(images)
        info = feature_info(network, shape)
        assert info.channels() == [each.shape[1] for each in maps]
        assert info.reduction() == [side // each.shape[2] for each in maps]
        assert len(maps) >= 3
        assert all(2 * finer == coarser for finer, coarser in pairwise(info.reduction())), "each once, the finest first"
        model = ImageModel(network, shape, ((0,) * 3, (1,) * 3)).eval()
        assert torch.allclose(seeded(model, images), expected, atol=1e-6)
        assert model.num_features == model.forward_head(maps[-1], pre_logits=True).shape[1]


def test_a_trained_network_says_what_it_said(run: Path) -> None:
    model, trained = poise.create_model(run / "net"), poise.load_network(run / "net")
    images = torch.rand(4, 1, 8, 8)
    config = model.pretrained_cfg
    normalised = (images - torch.tensor(config["mean"])[:, None, None]) / torch.tensor(config["std"])[:, None, None]
    assert torch.allclose(model(normalised), trained.complete(images), atol=1e-5)
    assert (config["input_size"], config["num_classes"]) == ((1, 8, 8), 10)
    assert not model.training
    assert torch.equal(model.forward_head(model.forward_features(normalised)), model(normalised))
    fresh = poise.create_model(run / "net", pretrained=False)
    assert {name: value.shape for name, value in fresh.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert not torch.allclose(fresh(normalised), model(normalised))


def test_another_head_on_the_same_body_learns(run: Path) -> None:
    torch.manual_seed(0)
    model = poise.create_model(run / "net", num_classes=3)
    assert isinstance(model, ImageModel)
    assert (model.num_classes, model.get_classifier().out_features) == (3, 3)
    body = poise.create_model(run / "net").network.state_dict()
    assert all(torch.equal(value, body[name]) for name, value in model.network.state_dict().items())
    model.train()
    images, labels = torch.rand(30, 1, 8, 8), torch.arange(30) % 3
    images[torch.arange(30), 0, labels] += 2
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    assert all(weight.grad is not None for weight in model.classifier.parameters())
    model.double().reset_classifier(4)
    assert model(images.double()).dtype == torch.float64
    model.float().reset_classifier(0)
    assert isinstance(model.get_classifier(), nn.Identity)
    assert model(images).shape == (30, model.num_features)
    assert poise.create_model(run / "net", num_classes=0)(images).shape == (30, model.num_features)


def test_features_are_those_of_each_resolution(run: Path) -> None:
    model, images = poise.create_model(run / "net", features_only=True), torch.rand(2, 1, 8, 8)
    assert isinstance(model, Features)
    maps = model(images)
    assert [tuple(each.shape[1:]) for each in maps] == [(2, 8, 8), (4, 4, 4), (8, 2, 2)]
    assert (model.feature_info.channels(), model.feature_info.reduction()) == ([2, 4, 8], [1, 2, 4])
    last = poise.create_model(run / "net", features_only=True, out_indices=(2,))
    assert torch.equal(last(images)[0], maps[2])
    assert last.feature_info.channels() == [8]
    assert not any("classifier" in name for name in model.state_dict())


def test_a_search_gives_a_fresh_network_of_its_genotype(run: Path) -> None:
    model = poise.create_model(run, pretrained=False, num_classes=7, in_chans=1)
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 7)
    same = poise.create_model(run / "net", pretrained=False, num_classes=7)
    assert model.state_dict().keys() == same.state_dict().keys()
    assert poise.create_model(run / "net", pretrained=False, in_chans=3)(torch.rand(1, 3, 8, 8)).shape == (1, 10)


def test_what_there_is_not_is_refused_in_a_line(run: Path, tmp_path: Path) -> None:
    for arguments, reason in {
        (run, True): "is a search, which has no trained network: poise train",
        (run, False): "say for how many classes its network is to be, num_classes=$",
        (tmp_path, True): "genotype",
        ("hf:nobody", True): "expected owner/name",
    }.items():
        with pytest.raises(Refused, match=reason):
            poise.create_model(*arguments)
    with pytest.raises(Refused, match="was trained on images of 1 channels"):
        poise.create_model(run / "net", in_chans=3)
    with pytest.raises(Refused, match="out_indices has 3, but there are 3 resolutions: 0 to 2"):
        poise.create_model(run / "net", features_only=True, out_indices=(3,))
    with pytest.raises(Refused, match="out_indices is for features_only"):
        poise.create_model(run / "net", out_indices=(1,))
    with pytest.raises(Refused, match="take the mean"):
        poise.create_model(run / "net").reset_classifier(3, "max")
    tiny = {"search.epochs": 1, "search.images_per_half": 40, "search.batch_size": 20, "train.epochs": 1}
    own = poise.search(Net(), "digits", preset="demo", settings=tiny, device="cpu", listen=poise.ignore)
    poise.train(own, out=tmp_path / "own", listen=poise.ignore)
    with pytest.raises(Refused, match="is of a module of your own, which is a model already"):
        poise.create_model(tmp_path / "own")
