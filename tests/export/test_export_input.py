"""Every export, fed as its own documentation says, is the network: whatever unit the images were in.

What a file says is read from the file; nothing else here knows the unit.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import poise
from poise.data.pixels import Pixels
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.spaces.custom import with_choices_made

UNITS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float, float, float]]] = {
    "8-bit": (lambda grey: grey, (255, 0, 1)),
    "floats to 1": (lambda grey: grey.float() / 255, (1, 0, 1)),
    "floats to 255": (lambda grey: grey.float(), (1, 0, 255)),
    "floats around 0": (lambda grey: grey.float() / 50 - 2, (1, -2, 3.1)),
}
"""What of images ``uint8`` -> the training data; and the unit and range that must be said."""


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = poise.Choice({"k1": nn.Conv2d(3, 4, 1), "k3": nn.Conv2d(3, 4, 3, padding=1)})
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.first(images).relu().mean(dim=(2, 3)))


def grey_or_bright(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Dark and bright images, told apart by nothing but their values; both ends of the range occur."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    pixels = torch.randint(0, 120, (count, 3, 8, 8), generator=generator) + 136 * labels.view(-1, 1, 1, 1)
    pixels[0, :, 0, 0], pixels[1, :, 0, 0] = 0, 255
    return pixels.to(torch.uint8), labels


def data(unit: str) -> tuple[poise.Images, poise.Images]:
    halves = (grey_or_bright(64, 0), grey_or_bright(40, 1))
    train, test = (poise.Images(UNITS[unit][0](pixels), labels, ("dark", "bright")) for pixels, labels in halves)
    return train, test


Made = tuple[Path, str, bool]


@pytest.fixture(scope="module", params=[(unit, own) for unit in UNITS for own in (False, True)], ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The folder of a trained network, the unit of its images, and whether it is of a module of one's own."""
    unit, own = request.param
    settings: dict[str, Any] = {
        "train.epochs": 4, "train.batch_size": 16, "train.crop_padding": 0, "train.drop_path": 0.0,
        "train.auxiliary": 0.0, "train.weights.learning_rate": 0.1,
    }  # fmt: skip
    out = tmp_path_factory.mktemp("units") / "net"
    if own:
        genotype, given = poise.Genotype("custom", {"first": {"choice": ("k3",)}}), {"module": Own()}
    else:
        genotype = poise.Genotype.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|")
        given = {"space": poise.spaces.nasbench201(channels=2, cells=1)}
        settings |= {"train.channels": 4, "train.cells": 1}
    trained = poise.train(genotype, data(unit), preset="demo", settings=settings, out=out, **given)
    assert trained.result["test_accuracy"] == 1.0, "a network that has learnt nothing would prove nothing"
    return out, unit, own


def fed(said: dict[str, Any], images: poise.Images) -> Tensor:
    """Images as a file says that it takes them, from the pixels that the network was trained on."""
    assert (said["layout"], said["dtype"], said["size"], said["channels"]) == ("NCHW", "float32", [8, 8], 3)
    return images.pixels.float() / said["unit"]


def accuracy(logits: Tensor, images: poise.Images, classes: list[str]) -> float:
    names = [classes[index] for index in logits.argmax(dim=1)]
    truth = [images.names[index] for index in images.labels]
    return sum(a == b for a, b in zip(names, truth, strict=True)) / len(truth)


def check_said(said: dict[str, Any], unit: str, pixels: Pixels) -> None:
    expected, low, high = UNITS[unit][1]
    assert said["unit"] == expected
    assert said["range"] == pytest.approx([low, high])
    assert said["channel_order"] == "data", "nobody said that these arrays are RGB"
    assert (tuple(said["mean"]), tuple(said["std"])) == (pixels.mean, pixels.std)
    check_text(said["text"], unit)


def check_text(text: str, unit: str) -> None:
    expected, low, high = UNITS[unit][1]
    found = re.search(r"(values|floats as in the training data,) (-?\d[\d.]*?)\.\.(\d[\d.]*)", " ".join(text.split()))
    assert found is not None, text
    assert (float(found[2]), float(found[3])) == pytest.approx((low, high))
    assert ("divided by 255" in " ".join(text.split())) == (expected == 255)


def module(own: bool) -> nn.Module | None:
    return Own() if own else None


def test_the_network_s_file_and_complete(made: Made) -> None:
    out, unit, own = made
    trained = poise.load_network(out, module=module(own))
    said = json.loads((out / "network.json").read_text())
    expected, low, high = UNITS[unit][1]
    inputs = said["inputs"]
    assert (inputs["unit"], inputs["channel_order"], inputs["shape"]["size"]) == (expected, "data", [8, 8])
    assert inputs["range"] == pytest.approx([low, high])
    assert said["labels"]["names"] == ["dark", "bright"]
    assert trained.inputs.pixels == Pixels.read(inputs)
    _, test = data(unit)
    logits = trained.complete(test.pixels.float() / trained.inputs.pixels.unit)
    assert accuracy(logits, test, list(trained.names)) == 1.0
    assert poise.evaluate(trained, data(unit))["accuracy"] == 1.0


def test_onnx(made: Made, tmp_path: Path) -> None:
    out, unit, own = made
    (file,) = poise.export(out, "onnx", tmp_path / "net", module=module(own))
    model = onnx.load(file)
    about = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
    _, test = data(unit)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    logits = torch.from_numpy(session.run(["outputs"], {"images": fed(about["input"], test).numpy()})[0])
    assert accuracy(logits, test, about["labels"]["names"]) == 1.0
    check_said(about["input"], unit, poise.load_network(out, module=module(own)).inputs.pixels)
    check_text(model.doc_string, unit)


def test_python(made: Made, tmp_path: Path) -> None:
    out, unit, own = made
    if own:
        with pytest.raises(Refused, match="you have the source"):
            poise.export(out, "python", tmp_path / "net", module=Own())
        return
    file, _ = poise.export(out, "python", tmp_path / "net")
    spec = importlib.util.spec_from_file_location("exported", file)
    assert spec is not None
    assert spec.loader is not None
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    _, test = data(unit)
    with torch.no_grad():
        logits = exported.load()(fed(exported.INPUT, test))
    assert accuracy(logits, test, exported.LABELS["names"]) == 1.0
    check_said(exported.INPUT, unit, poise.load_network(out).inputs.pixels)
    assert exported.__doc__ is not None
    check_text(exported.__doc__, unit)
    texts = [
        ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert texts
    assert not [text for text in texts if "0..1" in text], "no class that comes along says something else"


def test_safetensors(made: Made, tmp_path: Path) -> None:
    out, unit, own = made
    (file,) = poise.export(out, "safetensors", tmp_path / "net", module=module(own))
    with safe_open(file, "pt") as opened:
        about = {name: json.loads(text) for name, text in opened.metadata().items()}
    weights = load_file(file)
    said = about["input"]
    trained = poise.load_network(out, module=module(own))
    if own:
        network = with_choices_made(Own(), trained.genotype)
    else:
        network = poise.spaces.nasbench201().network(trained.genotype, trained.shape, channels=4, cells=1)
    network.load_state_dict({name[2:]: value for name, value in weights.items() if name.startswith("1.")})
    _, test = data(unit)
    mean, std = (torch.tensor(said[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    assert torch.equal(mean, weights["0.mean"])
    assert torch.equal(std, weights["0.std"])
    with torch.no_grad():
        logits = network.eval()((fed(said, test) - mean) / std)
    assert accuracy(logits, test, about["labels"]["names"]) == 1.0
    check_said(said, unit, trained.inputs.pixels)


def test_test_images_in_another_unit_are_refused(made: Made) -> None:
    out, unit, own = made
    for other in UNITS:
        fits = {unit, other} <= {"8-bit", "floats to 1"} or unit == other
        far = "floats to 255" in (unit, other)
        if fits:
            assert poise.evaluate(out, data(other), module=module(own))["accuracy"] == 1.0
        elif far:
            with pytest.raises(Refused, match=r"was trained on .*; the images hold .*: give them in the same unit"):
                poise.evaluate(out, data(other), module=module(own))


def test_image_files_are_rgb_or_grey(tmp_path: Path) -> None:
    from PIL import Image

    for mode, order in (("RGB", "RGB"), ("L", "grey")):
        root = tmp_path / mode
        for name, value in (("a", 10), ("b", 240)):
            (root / name).mkdir(parents=True)
            for number in range(10):
                Image.new(mode, (8, 8), (value + number,) * 3 if mode == "RGB" else value + number).save(
                    root / name / f"{number}.png"
                )
        genotype = poise.Genotype("custom", {"choice": {"choice": ("flat",)}})
        size = (3 if mode == "RGB" else 1) * 64
        net = poise.Choice({name: nn.Sequential(nn.Flatten(), nn.Linear(size, 2)) for name in ("flat", "other")})
        settings = {"train.epochs": 1, "train.batch_size": 4}
        trained = poise.train(
            genotype, root, module=net, preset="demo", settings=settings, out=tmp_path / f"{mode}-net"
        )
        assert (trained.inputs.pixels.order, trained.inputs.pixels.unit) == (order, 255)
        assert poise.load_network(tmp_path / f"{mode}-net", module=net).inputs.pixels == trained.inputs.pixels


def test_an_older_file_is_of_8_bit_values_and_a_damaged_one_is_refused() -> None:
    old = {"mean": [0.1, 0.2, 0.3], "std": [0.1, 0.2, 0.3]}
    assert Pixels.read(old) == Pixels("RGB", 255, 0, 1, (0.1, 0.2, 0.3), (0.1, 0.2, 0.3))
    assert Pixels.read({"mean": [0.1], "std": [0.1]}).order == "grey"
    for wrong in (
        {"channel_order": '"""'},
        {"unit": 0},
        {"range": [0]},
        {"std": [0, 1, 1]},
        {"mean": [float("nan")] * 3},
    ):
        with pytest.raises(ValueError):
            Pixels.read(old | wrong)


def test_a_damaged_description_is_refused_by_name(tmp_path: Path, made: Made) -> None:
    import shutil

    out, _, own = made
    copied = shutil.copytree(out, tmp_path / "net")
    about = json.loads((copied / "network.json").read_text())
    RunFolder(copied).write("network.json", json.dumps(about | {"inputs": about["inputs"] | {"unit": "many"}}))
    with pytest.raises(Refused, match=r"network\.json is damaged"):
        poise.load_network(copied, module=module(own))


def test_test_images_in_another_unit_are_refused_before_a_training() -> None:
    genotype = poise.Genotype.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    draw = torch.Generator().manual_seed(0)
    floats = torch.rand(64, 1, 8, 8, generator=draw)
    train, test = (poise.Images(floats * unit, torch.arange(64) % 2, ("a", "b")) for unit in (1, 255))
    settings = {"train.epochs": 1, "train.channels": 2, "train.cells": 1, "train.batch_size": 16}
    with pytest.raises(Refused, match="give them in the same unit"):
        poise.train(genotype, (train, test), preset="demo", settings=settings)
