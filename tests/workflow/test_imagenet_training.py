"""Training in the form for ImageNet from a folder of photographs: settings, resume, evaluation, export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import poise
from poise.config.resolve import resolve
from poise.data.crops import RandomPart
from poise.data.split_source import SplitSource
from poise.data.streaming import StreamedBatches
from poise.engine.checkpointer import RunControl
from poise.engine.device import Place
from poise.engine.events import EpochEnded, ignore
from poise.export.card import Card
from poise.export.exports import lean
from poise.export.python import source_text
from poise.spaces import SPACES
from poise.tasks.task import task_facts
from poise.workflow.retrain import source_of

GENOTYPE = poise.Genotype.parse(
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 0), ('dil_conv_3x3', 2),"
    "('skip_connect', 1), ('avg_pool_3x3', 0), ('skip_connect', 0), ('dil_conv_3x3', 4)],"
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),"
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)])"
)
TINY: dict[str, Any] = {
    "data.size": 32, "train.channels": 4, "train.cells": 3, "train.epochs": 2, "train.batch_size": 4,
    "train.warm_up": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for split, count in (("train", 14), ("val", 5)):
        for index in range(count):
            folder = root / split / ("cat", "dog")[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 256, (40 + index, 36 + 2 * index, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:02}.jpg", quality=90)
    return root


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> poise.TrainedNetwork:
    return trained(photos, tmp_path_factory.mktemp("runs") / "whole")


def trained(photos: Path, out: Path | None, settings: dict[str, Any] | None = None, **given: Any) -> Any:
    return poise.train(
        GENOTYPE, photos, preset="imagenet", settings=TINY | (settings or {}), device="cpu", out=out, **given
    )


def test_the_preset_is_the_published_setting() -> None:
    found = resolve(space="darts", preset="imagenet")
    train, data = found.train, found.data
    assert (train.form, train.channels, train.cells, train.epochs) == ("imagenet", 48, 14, 250)
    assert (train.label_smoothing, train.auxiliary, train.drop_path, train.cutout) == (0.1, 0.4, 0, 0)
    assert (train.schedule, train.warm_up, train.batch_size, train.colour_jitter) == ("linear", 5, 1024, 0.4)
    assert (train.weights.learning_rate, train.weights.final_learning_rate) == (0.5, 0)
    assert (train.weights.weight_decay, train.weights.momentum, train.weights.clip) == (3e-5, 0.9, 5)
    assert (data.streaming, data.size) == (True, 224)
    assert resolve(space="s3", preset="imagenet").train == train
    with pytest.raises(poise.Refused, match="unknown preset 'imagenet'"):
        resolve(space="nasbench201", preset="imagenet")


def test_a_run_says_what_it_is(whole: Any) -> None:
    about = json.loads((whole.folder / "network.json").read_text())
    inputs = about["inputs"]
    assert (about["form"], inputs["streamed"], inputs["shape"]["size"]) == ("imagenet", True, [32, 32])
    assert about["channels"] == 4
    assert [record["learning_rate"] for record in whole.history] == pytest.approx([0.5, 0.25])
    assert whole.network.arguments["form"] == "imagenet"
    assert {"parameters", "macs", "test_accuracy", "test_balanced_accuracy", "test_loss"} < set(whole.result)
    measured = {name[5:]: value for name, value in whole.result.items() if name.startswith("test_")}
    assert poise.evaluate(whole.folder, source_of(whole.folder), batch_size=4) == measured


class StopAfter:
    """Asks to stop at every visit from the given one on."""

    def __init__(self, visits: int) -> None:
        self.left = visits

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize(("visits", "workers"), [(1, 0), (2, 1)])
def test_stopped_after_any_step_it_ends_the_same(
    whole: Any, photos: Path, tmp_path: Path, visits: int, workers: int
) -> None:
    """Stops fall within epochs of 3 steps and at their ends; the number of workers is another than the whole run's."""
    out, stops = tmp_path / "net", 0
    while True:
        try:
            control = RunControl(every=1e9, asked=StopAfter(visits))
            found = trained(photos, out, {"data.workers": workers}, resume=True, control=control)
            break
        except poise.Stopped:
            stops += 1
    assert stops >= 3
    expected = whole.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.network.state_dict().items())
    assert [record["train_loss"] for record in found.history] == [record["train_loss"] for record in whole.history]
    assert found.result == whole.result


def test_data_that_changed_is_noticed(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    with pytest.raises(poise.Stopped):
        trained(tmp_path / "photos", tmp_path / "net", control=RunControl(asked=StopAfter(1)))
    file = tmp_path / "photos" / "train" / "cat" / "00.jpg"
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(poise.Refused, match="the data is not the same"):
        poise.resume(tmp_path / "net")


def test_loaded_and_exported_it_is_the_same_network(whole: Any, tmp_path: Path) -> None:
    loaded = poise.load_network(whole.folder)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = whole.complete(images)
        torch.testing.assert_close(loaded.complete(images), expected)  # in another layout
        card = Card(loaded.task, task_facts(loaded.task), loaded.seen, loaded.inputs, GENOTYPE)
        text = source_text(lean(loaded.complete, card), card)
        assert "def imagenet_stem" in text
        assert "cifar_stem" not in text, "only what this form needs is carried along"
        assert "poise" not in text.replace("# From poise/", "")
        names: dict[str, Any] = {"__file__": str(tmp_path / "model.py"), "__name__": "exported"}
        exec(compile(text, "model.py", "exec"), names)  # noqa: S102
        poise.export(loaded, "safetensors", tmp_path / "model")
        torch.testing.assert_close(names["load"](tmp_path / "model.safetensors")(images), expected)


def test_auto_batch_measures_streamed_images(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr("poise.workflow.memory.available_bytes", lambda place: 90 * 2**20)
    found = trained(
        photos, None, {"train.batch_size": 14, "train.epochs": 1, "data.size": 224}, auto_batch=True,
        listen=lambda event: notes.append(getattr(event, "message", "")),
    )  # fmt: skip
    assert any("train.batch_size is" in note and "instead of 14" in note for note in notes), notes
    assert len(found.history) == 1


def test_in_memory_the_form_works_as_well() -> None:
    settings = TINY | {"data.streaming": False, "data.size": None, "train.colour_jitter": 0, "train.epochs": 1}
    pixels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = poise.Images(pixels, torch.arange(8) % 2, ("a", "b"))
    found = poise.train(GENOTYPE, images, preset="imagenet", settings=settings, device="cpu")
    assert found.network.arguments["form"] == "imagenet"
    assert not found.inputs.streamed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.size": None}, "say which with data.size, such as 224"),
        ({"train.crop_padding": 4}, "train.crop_padding means nothing with data.streaming"),
        ({"data.streaming": False}, "train.colour_jitter is for streamed images only"),
        (
            {"data.streaming": False, "train.colour_jitter": 0, "train.crop_area": 0.5},
            "train.crop_area is for streamed",
        ),
        ({"data.streaming": False, "train.colour_jitter": 0, "data.workers": 1}, "data.workers is for streamed"),
        ({"train.form": "mobile"}, "train.form"),
        ({"train.crop_area": 0}, "train.crop_area"),
        ({"data.workers": -1}, "data.workers"),
        ({"train.batch_size": 15}, "14 images do not fill one batch of 15"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(photos: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(poise.Refused, match=message) as caught:
        trained(photos, None, settings)
    assert "\n" not in str(caught.value)


def test_only_encoded_images_are_streamed() -> None:
    with pytest.raises(poise.Refused, match="no image files to stream"):
        poise.train(GENOTYPE, "digits", preset="imagenet", settings=TINY)


def test_a_test_image_that_cannot_be_read_is_found_before_the_training(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    broken = tmp_path / "photos" / "val" / "dog" / "03.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    heard: list[Any] = []
    with pytest.raises(poise.Refused, match=r"^cannot read image .*03\.jpg: "):
        trained(tmp_path / "photos", tmp_path / "run", listen=heard.append)
    assert not any(isinstance(event, EpochEnded) for event in heard)
    assert not (tmp_path / "run").exists(), "nothing to clear away before the next try"
    found = trained(tmp_path / "photos", tmp_path / "run", {"data.skip_bad_images": True})
    assert 4 * found.result["test_accuracy"] == round(4 * found.result["test_accuracy"]), "of 4 images"


def test_a_search_does_not_stream(photos: Path) -> None:
    with pytest.raises(poise.Refused, match=r"data\.streaming is for poise train"):
        poise.search(photos, space="darts", preset="imagenet")


def test_spaces_without_forms_say_so(photos: Path) -> None:
    cell = poise.Genotype.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    with pytest.raises(poise.Refused, match="have one form only"):
        poise.train(cell, photos, preset="demo", settings={"train.form": "imagenet"})


def test_mixed_sizes_in_memory_point_here(photos: Path) -> None:
    with pytest.raises(poise.Refused, match=r"images differ in size.*data\.streaming=true"):
        poise.train(GENOTYPE, photos, preset="demo")


def test_what_is_set_reaches_the_crops(photos: Path) -> None:
    own = {"train.crop_area": 0.3, "train.colour_jitter": 0.2, "train.flip": False, "train.cutout": 5}
    settings = resolve(space="darts", preset="imagenet", overrides=list((TINY | own).items()))
    place = Place.open("cpu")
    source = poise.open_source(photos)
    supply = settings.task.supply(settings, source, place, ignore)
    assert isinstance(source, SplitSource)
    expected = StreamedBatches(
        source.streamed("train"), 4, part=RandomPart(32, 0.3, False, 0.2), mean=supply.inputs.pixels.mean,
        std=supply.inputs.pixels.std,
        device="cpu", cutout=5, workers=0,
    )  # fmt: skip
    found, wanted = (next(made.epoch(torch.Generator().manual_seed(0)))[0] for made in (supply.batches(4), expected))
    assert torch.equal(found, wanted)


def test_mobile_networks_are_trained_from_photographs_too(photos: Path) -> None:
    """Their strides go with the size of the image, so they need no form."""
    rows = {group.name: {row.name: (row.candidates[0],) for row in group.rows} for group in SPACES["mobile"]().groups}  # type: ignore[call-arg]
    settings = {"data.size": 32, "train.channels": 4, "train.epochs": 1, "train.batch_size": 4, "train.warm_up": 0}
    found = poise.train(poise.Genotype("mobile", rows), photos, preset="imagenet", settings=settings)
    assert found.inputs.streamed
    assert found.shape.size == (32, 32)
    assert 0 <= found.result["test_accuracy"] <= 1
    published = resolve(space="mobile", preset="imagenet")
    assert (published.data.size, published.data.streaming, published.train.form) == (224, True, None)
