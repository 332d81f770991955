"""Predictions of a saved network: those that `evaluate` counts, whatever the batch, in the order of what was given."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import poise
from poise.data.intake import Intake
from poise.data.pixels import Pixels
from poise.engine.predict import Predictor
from poise.errors import Refused
from poise.export.answers import mask_answers
from poise.workflow.predict import write_predictions

CLASSES = ("dark", "middle", "=bright")
SETTINGS = {
    "train.epochs": 3, "train.batch_size": 16, "train.crop_padding": 0, "train.drop_path": 0.0, "train.auxiliary": 0.0,
    "train.weights.learning_rate": 0.1, "train.channels": 4, "train.cells": 1, "data.size": 8,
}  # fmt: skip


def write(root: Path, count: int, seed: int) -> None:
    """Images of several sizes whose classes overlap, so that no network is right about all."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        label = number % 3
        pixels = draw.integers(0, 200, (16, 16, 3)) + 20 * label
        path = root / CLASSES[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a network, and that of its data."""
    root = tmp_path_factory.mktemp("predict")
    write(root / "data/train", 48, 0)
    write(root / "data/test", 30, 1)
    genotype = poise.Genotype.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    poise.train(
        genotype, root / "data", space=poise.spaces.nasbench201(channels=2, cells=1), preset="demo", settings=SETTINGS,
        out=root / "net",
    )  # fmt: skip
    return root / "net", root / "data"


def test_they_are_what_evaluate_counts(made: tuple[Path, Path]) -> None:
    net, data = made
    found = list(poise.predict(net, data / "test"))
    assert [one.name for one in found] == [str(path) for path in sorted((data / "test").rglob("*.png"))]
    assert len({one["class"] for one in found}) > 1, "a constant network proves nothing"
    right = [one["class"] == Path(one.name).parent.name for one in found]
    expected = poise.evaluate(net, data)
    assert sum(right) / len(right) == expected["accuracy"]
    truth = [one["probabilities"][Path(one.name).parent.name] for one in found]
    assert -np.log(truth).mean() == pytest.approx(expected["loss"], abs=1e-5)
    for one in found:
        assert sum(one["probabilities"].values()) == pytest.approx(1)
        assert one["probability"] == max(one["probabilities"].values()) == one["probabilities"][one["class"]]
        assert (tuple(sorted(one["probabilities"])), one.error) == (tuple(sorted(CLASSES)), "")


def test_neither_the_batch_nor_the_company_matters(made: tuple[Path, Path]) -> None:
    net, data = made
    network = poise.load_network(net)
    paths = sorted((data / "test").rglob("*.png"))[::-1]
    whole = list(network.predict(paths))
    assert [one.name for one in whole] == list(map(str, paths)), "in the order given"
    for size in (1, 7):
        for one, other in zip(network.predict(paths, batch_size=size), whole, strict=True):
            assert one.name == other.name
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)


def test_files_arrays_and_the_complete_network_agree(made: tuple[Path, Path]) -> None:
    net, data = made
    network = poise.load_network(net)
    source = poise.open_source(data)
    pixels = source.load("test", size=8).pixels
    with torch.no_grad():
        expected = network.complete(pixels / 255).softmax(1)
    names = list(network.names)
    for inputs in (pixels, pixels.numpy(), pixels / 255, sorted((data / "test").rglob("*.png"))):
        found = torch.tensor([[one["probabilities"][name] for name in names] for one in network.predict(inputs)])
        assert torch.allclose(found.float(), expected, atol=1e-6)


def test_it_is_a_stream(made: tuple[Path, Path]) -> None:
    network = poise.load_network(made[0])
    seen = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal seen
        while True:
            seen += 1
            yield np.full((3, 8, 8), seen % 256, np.uint8)

    found = network.predict(endless(), batch_size=4)
    assert isinstance(found, types.GeneratorType)
    assert seen == 0, "nothing is read before it is asked for"
    assert [next(found).name for _ in range(5)] == [f"image {number}" for number in range(5)]
    assert seen == 8
    found.close()


def test_what_cannot_be_read_has_an_error(made: tuple[Path, Path], tmp_path: Path) -> None:
    net, data = made
    (tmp_path / "bad.png").write_bytes(b"no image")
    good = min((data / "test").rglob("*.png"))
    first, second, third = poise.predict(net, [good, tmp_path / "bad.png", good])
    assert first.prediction == third.prediction
    assert second.prediction == {}
    with pytest.raises(Refused, match=r"cannot read image .*bad\.png: cannot identify"):
        second["class"]


def test_a_streamed_network_sees_middles(made: tuple[Path, Path], tmp_path: Path) -> None:
    _, data = made
    genotype = poise.Genotype.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    settings = {name: value for name, value in SETTINGS.items() if name != "train.crop_padding"}
    settings |= {"data.streaming": True, "data.workers": 0, "train.epochs": 1}
    poise.train(genotype, data, preset="demo", settings=settings, out=tmp_path / "net")
    found = list(poise.predict(tmp_path / "net", data / "test"))
    right = [one["class"] == Path(one.name).parent.name for one in found]
    expected = poise.evaluate(tmp_path / "net", data)
    assert sum(right) / len(right) == expected["accuracy"]
    truth = [one["probabilities"][Path(one.name).parent.name] for one in found]
    assert -np.log(truth).mean() == pytest.approx(expected["loss"], abs=1e-6)


def test_what_cannot_predict_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    net, data = made
    with pytest.raises(Refused, match="no run at"):
        poise.predict(tmp_path / "nowhere", data)
    with pytest.raises(Refused, match="module= is for a saved run of a module of your own"):
        poise.predict(net, data, module=torch.nn.Linear(1, 1))
    with pytest.raises(Refused, match="unknown device"):
        poise.predict(net, data, device="gpu")


def test_masks_go_into_a_folder_under_the_names_of_their_images(tmp_path: Path) -> None:
    pixels = Pixels("RGB", 255.0, 0.0, 1.0, (0.5,) * 3, (0.25,) * 3)
    ready = Predictor(Intake(3, (16, 16), pixels), Tensor.float, lambda outputs: mask_answers(outputs, ("r", "g", "b")))
    write(tmp_path / "data", 4, 0)
    (tmp_path / "data" / "bad.png").touch()
    notes: list[str] = []
    count = write_predictions(
        ready, tmp_path / "data", tmp_path / "masks", listen=lambda event: notes.append(getattr(event, "message", ""))
    )
    assert (count.inputs, count.failed, len(notes)) == (5, 1, 1)
    images = sorted(path.relative_to(tmp_path / "data") for path in (tmp_path / "data").rglob("0*.png"))
    assert sorted(path.relative_to(tmp_path / "masks") for path in (tmp_path / "masks").rglob("*.*")) == images
    for name in images:
        with Image.open(tmp_path / "data" / name, formats=("PNG",)) as image:
            expected = np.asarray(image).argmax(axis=2)
        with Image.open(tmp_path / "masks" / name, formats=("PNG",)) as mask:
            assert np.array_equal(np.asarray(mask), expected)
