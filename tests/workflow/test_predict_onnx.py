"""An exported ONNX file predicts as the folder does that it came from, and all that it needs is in it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import poise
from poise.errors import Refused

GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


def trained(root: Path, streamed: bool) -> Path:
    """The folder of a network of 8×8 images."""
    draw = np.random.default_rng(0)
    for number in range(48):
        pixels = draw.integers(0, 200, (12, 16, 3)) + 40 * (number % 2)
        path = root / "data" / ("dark", "bright")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    settings: dict[str, Any] = {
        "train.epochs": 2, "train.batch_size": 16, "train.channels": 4, "train.cells": 1, "data.size": 8,
        "train.weights.learning_rate": 0.1, "data.streaming": streamed,
    }  # fmt: skip
    if streamed:
        settings |= {"data.workers": 0}
    genotype = poise.Genotype.parse(GENOTYPE)
    poise.train(genotype, root / "data", preset="demo", settings=settings, out=root / "net")
    return root / "net"


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "streamed"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a network, and the file that it was exported to, in a folder of its own."""
    net = trained(tmp_path_factory.mktemp("onnx"), request.param)
    (file,) = poise.export(net, "onnx", net.parent / "elsewhere" / "model")
    return net, file


def test_the_same_numbers_of_files_and_arrays(made: tuple[Path, Path]) -> None:
    net, file = made
    data = net.parent / "data"
    images = np.random.default_rng(1).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    for inputs in (data, images, f"{data}/*/*.png", [data / "dark" / "00.png", images[0]]):
        ours, theirs = list(poise.predict(net, inputs)), list(poise.predict(file, inputs, batch_size=3))
        assert [one.name for one in ours] == [one.name for one in theirs]
        assert len(ours) > 0
        for one, other in zip(ours, theirs, strict=True):
            assert one.error == other.error == ""
            assert one["class"] == other["class"]
            assert other["probabilities"] == pytest.approx(one["probabilities"], abs=1e-5)
    spread = [one["probability"] for one in poise.predict(net, data)]
    assert np.std(spread) > 1e-3, "a constant network proves nothing"


def test_the_metadata_says_everything(made: tuple[Path, Path]) -> None:
    net, file = made
    about = {each.key: json.loads(each.value) for each in onnx.load(file).metadata_props}
    network = poise.load_network(net)
    assert about["task"]["name"] == "classification"
    assert about["labels"] == network.seen.facts
    assert about["input"]["streamed"] == network.inputs.streamed
    assert (about["input"]["mean"], about["input"]["std"]) == (
        list(network.inputs.pixels.mean),
        list(network.inputs.pixels.std),
    )


def changed(file: Path, to: Path, **about: str | None) -> Path:
    """A copy of the file with other metadata; None: without it."""
    model = onnx.load(file)
    props = {each.key: each.value for each in model.metadata_props} | about
    onnx.helper.set_model_props(model, {name: value for name, value in props.items() if value is not None})
    onnx.save(model, to)
    return to


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"labels": None}, "does not say what it takes and gives; export the network again"),
        ({"input": None}, "does not say what it takes and gives"),
        ({"input": '{"size": [8]}'}, "does not say what it takes and gives"),
        ({"task": None}, "does not say what the network is for"),
        ({"task": '{"name": "clasification"}'}, "did you mean 'classification'"),
        ({"task": "__import__('os')"}, "metadata that poise did not write"),
    ],
    ids=str,
)
def test_a_file_that_does_not_say_it_is_refused(
    made: tuple[Path, Path], tmp_path: Path, about: dict[str, str | None], reason: str
) -> None:
    file = changed(made[1], tmp_path / "model.onnx", **about)
    with pytest.raises(Refused, match=reason):
        poise.predict(file, np.zeros((1, 3, 8, 8), np.uint8))


def test_what_is_no_onnx_file_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "half.onnx").write_bytes(made[1].read_bytes()[:2000])
    for name in ("empty", "text", "half"):
        with pytest.raises(Refused, match="is no ONNX file that can be run"):
            poise.predict(tmp_path / f"{name}.onnx", torch.zeros(1, 3, 8, 8))
    with pytest.raises(Refused, match="no such file"):
        poise.predict(tmp_path / "gone.onnx", torch.zeros(1, 3, 8, 8))


def test_on_the_command_line(made: tuple[Path, Path], tmp_path: Path) -> None:
    from poise.cli.main import main

    net, file = made
    found = []
    for what in (net, file):
        out = tmp_path / f"{what.name}.csv"
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(what), str(net.parent / "data"), "--out", str(out)])
        assert ended.value.code == 0
        found.append(list(csv.DictReader(out.open(newline=""))))
    for one, other in zip(*found, strict=True):
        assert (one["file"], one["class"]) == (other["file"], other["class"])
        assert float(one["probability"]) == pytest.approx(float(other["probability"]), abs=1e-5)
