"""Modules in the style of the big model libraries: searched, trained, saved, loaded, evaluated and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from library_modules import Residual, Shuffles, Transformer
from safetensors.torch import load_file
from torch import nn

import poise
from poise.genotype import Genotype
from poise.spaces import ModuleSpace
from poise.spaces.space import kept_of
from poise.supernet.groups import one_hot

SETTINGS: dict[str, Any] = {
    "search.epochs": 2,
    "search.images_per_half": 64,
    "search.batch_size": 32,
    "search.alphas.learning_rate": 0.02,
    "train.epochs": 2,
    "train.batch_size": 64,
}
MODULES: dict[str, type[nn.Module]] = {"residual": Residual, "transformer": Transformer, "shuffles": Shuffles}


@pytest.mark.parametrize("name", MODULES)
def test_from_search_to_export(name: str, tmp_path: Path) -> None:
    make, run, net = MODULES[name], tmp_path / "run", tmp_path / "net"
    found = poise.search(make(), "digits", method="darts", preset="demo", settings=SETTINGS, out=run)
    for group, alphas in found.alphas.items():
        assert (alphas - alphas.mean()).abs().max() > 1e-3, f"the alphas of {group} never moved"
    trained = poise.train(found, out=net)
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]

    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = trained.complete(images)
    assert expected.std() > 1e-3, "a constant network would prove nothing"
    loaded = poise.load_network(net, module=make())
    with torch.no_grad():
        assert torch.equal(loaded.complete(images), expected)
    assert not any(isinstance(layer, poise.Choice) for layer in loaded.network.modules())
    measured = poise.evaluate(net, "digits", module=make())
    assert measured["accuracy"] == pytest.approx(trained.result["test_accuracy"], abs=1e-6)

    (onnx,) = poise.export(net, "onnx", tmp_path / "model", module=make())
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    logits = session.run(["outputs"], {"images": images.numpy()})[0]
    assert (torch.from_numpy(logits) - expected).abs().max() < 1e-4
    (weights,) = poise.export(net, "safetensors", tmp_path / "model", module=make())
    assert load_file(weights).keys() == loaded.complete.state_dict().keys()


def genotypes(space: ModuleSpace) -> list[Genotype]:
    """One for each candidate of each group, with the first, or the next, of the others."""
    widest = max(len(group.rows[0].candidates) for group in space.groups)
    return [
        Genotype(
            "custom",
            {
                group.name: {"choice": (group.rows[0].candidates[(turn + shift) % len(group.rows[0].candidates)],)}
                for shift, group in enumerate(space.groups)
            },
        )
        for turn in range(widest)
    ]


@pytest.mark.parametrize("name", MODULES)
def test_every_discrete_network_is_its_one_hot_supernet_to_the_last_bit(name: str) -> None:
    space, task = ModuleSpace(MODULES[name]()), poise.spaces.ImageShape(1, (8, 8), 10)
    images = torch.randn(4, 1, 8, 8)
    for genotype in genotypes(space):
        supernet, network = space.supernet(task).eval(), space.network(genotype, task).eval()
        mixture = one_hot(kept_of(genotype, space.groups), space.groups)
        with torch.no_grad():
            assert torch.equal(network(images), supernet(images, mixture)), genotype.choices
        exact = {key: values.clone().requires_grad_() for key, values in mixture.items()}
        assert torch.equal(network(images), supernet(images, exact)), genotype.choices
        network.train()(images).square().sum().backward()  # no layer's output that autograd needs was written into
