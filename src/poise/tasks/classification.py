"""Classification: an image is of one of several classes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from poise.config.settings import RunSettings
from poise.data.batched import Batched
from poise.data.intake import Intake
from poise.data.pixels import Pixels
from poise.data.streaming import workers_explained
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.fit import Step, training_step
from poise.engine.keeper import Keeper
from poise.engine.predict import Predicted, Predictor, forward_images
from poise.engine.run import RunFolder
from poise.engine.train import evaluate
from poise.engine.train import train as run_training
from poise.errors import Refused
from poise.export.answers import class_answers
from poise.export.exports import Export
from poise.export.normalise import Normalise
from poise.genotype import Genotype
from poise.report.summary import Summarised, Summary, drawing, epochs, listed, measured
from poise.spaces.custom import ModuleSpace
from poise.spaces.forms import network_of
from poise.spaces.space import ImageShape, Space, channels_last, has_heads
from poise.tasks.images import ImageData, ImageMaterial, image_data, notes_on_skipped, open_images, testing_of
from poise.tasks.task import TASKS


@dataclass(frozen=True, repr=False)
class TrainedNetwork(Summarised):
    """A retrained network, and what is needed to use it; printed, a summary of it.

    ``network`` takes normalised images; `complete` takes images as ``pixels`` says.
    """

    network: nn.Module
    genotype: Genotype
    shape: ImageShape
    classes: tuple[str, ...]
    pixels: Pixels
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, float]
    folder: Path | None
    streamed: bool = False
    """Whether it saw streamed images, so that tests show it their middles."""
    channels_last: bool = True
    """How the images lay that it saw."""

    def summary(self) -> Summary:
        """What it measures, takes and gives, and what to do next."""
        rows = [
            *measured({"parameters": self.parameters, **self.result}),
            ("classes", listed(self.classes)),
            ("images", f"{self.shape.channels} × {self.shape.size[0]} × {self.shape.size[1]}"),
            ("folder", "not saved" if self.folder is None else str(self.folder)),
            ("next", "poise.evaluate(network, data), poise.export(network, 'onnx')"),
        ]
        title = f"A network of space {self.genotype.space}, trained for {epochs(len(self.history))}"
        return Summary(title, rows, drawing(self.genotype))

    @property
    def complete(self) -> nn.Module:
        """Normalisation and network: images ``[batch, channels, height, width]`` -> logits ``[batch, classes]``.

        Their values are those of the training data divided by ``pixels.unit``: in 0..1 where these were 8-bit values,
        else as they were.
        """
        return nn.Sequential(
            Normalise(self.pixels.mean, self.pixels.std), copy.deepcopy(self.network).cpu().float()
        ).eval()

    @property
    def parameters(self) -> int:
        """Parameters in use after training: the auxiliary head is not counted."""
        aside = "auxiliary." if has_heads(self.network) else None
        weights = self.network.named_parameters()
        return sum(weight.numel() for name, weight in weights if aside is None or not name.startswith(aside))

    def facts(self, settings: RunSettings) -> dict[str, Any]:
        form = settings.train
        return {
            "space": self.genotype.space,
            "form": form.form,
            "channels": form.channels,
            "cells": form.cells,
            "auxiliary": form.auxiliary > 0,
            "image_channels": self.shape.channels,
            "image_size": list(self.shape.size),
            "classes": list(self.classes),
            **self.pixels.facts,
            "streamed": self.streamed,
        }

    def evaluate(
        self, data: Any, device: str, precision: str, batch_size: int, skip_bad_images: bool, listen: Listener
    ) -> dict[str, float]:
        """``accuracy`` in [0, 1] and mean ``loss``."""
        source = open_images(data, self.genotype.space, skip_bad_images)
        if not source.has("test"):
            raise Refused(f"{source.name} has no test split to evaluate on")
        place = Place.open(device, precision, self.channels_last)
        testing = testing_of(source, self.shape, self.classes, self.pixels, place, streamed=self.streamed)
        for text in notes_on_skipped(source):
            listen(Noted(text))
        return _measure(self.network, testing(batch_size), place)

    def predictor(self, device: str, precision: str) -> Predictor:
        place = Place.open(device, precision, self.channels_last)
        intake = Intake(self.shape.channels, self.shape.size, self.pixels, self.streamed)
        forward = forward_images(self.network, self.pixels, place)
        return Predictor(intake, forward, lambda outputs: class_answers(outputs, self.classes))

    def predict(
        self, inputs: Any, *, device: str = "auto", precision: str = "32", batch_size: int = 256
    ) -> Iterator[Predicted]:
        """What it says of new images, one after the other; see `poise.predict`."""
        return self.predictor(device, precision)(inputs, batch_size)

    def export(self, write: Export, path: Path) -> list[Path]:
        return write(
            self.complete, path, shape=self.shape, genotype=self.genotype, classes=self.classes, pixels=self.pixels
        )


@dataclass(frozen=True)
class ImageSupply:
    """Satisfies `poise.tasks.task.Supply`."""

    data: ImageData
    place: Place

    @property
    def shape(self) -> ImageShape:
        return self.data.shape

    def fingerprint(self) -> str:
        return self.data.fingerprint()

    def batches(self, count: int) -> Batched:
        return self.data.training(count)

    def step(self, network: nn.Module, settings: RunSettings, batches: Batched) -> Step:
        return training_step(network, settings.train, batches, self.place)

    def train(
        self, network: nn.Module, settings: RunSettings, batches: Batched, listen: Listener, keeper: Keeper, rate: float
    ) -> list[dict[str, Any]]:
        with workers_explained():
            return run_training(network, settings.train, batches, self.place, settings.seed, listen, keeper, rate)

    def trained(
        self, network: nn.Module, genotype: Genotype, settings: RunSettings, folder: Path | None
    ) -> TrainedNetwork:
        data = self.data
        return TrainedNetwork(
            network, genotype, data.shape, data.classes, data.pixels, [], {}, folder, settings.data.streaming,
            channels_last=self.place.channels_last,
        )  # fmt: skip

    def measured(self, network: nn.Module, settings: RunSettings) -> dict[str, float]:
        """``test_accuracy`` and ``test_loss``, where there is a test split."""
        if self.data.testing is None:
            return {}
        found = _measure(network, self.data.testing(settings.train.batch_size), self.place)
        return {f"test_{name}": value for name, value in found.items()}


def _measure(network: nn.Module, batches: Batched, place: Place) -> dict[str, float]:
    place.put(network)
    with workers_explained():
        return evaluate(network, batches, place)


@TASKS.add("classification")
@dataclass(frozen=True)
class Classification:
    """One class per image, by cross-entropy; measured by accuracy."""

    shape: ClassVar[type] = ImageShape
    unit: ClassVar[str] = "images"
    about: ClassVar[str] = "images"
    unused: ClassVar[tuple[str, ...]] = ("search.text", "train.text")
    example: ClassVar[ImageShape] = ImageShape(3, (32, 32), 10)
    exports: ClassVar[bool] = True

    def check(self, settings: RunSettings) -> None:
        pass

    def material(self, settings: RunSettings, space: str, spec: Any, place: Place) -> ImageMaterial:
        return ImageMaterial(settings, space, spec, place)

    def supply(self, settings: RunSettings, space: str, data: Any, place: Place, listen: Listener) -> ImageSupply:
        return ImageSupply(image_data(settings, space, data, place, listen), place)

    def load(self, folder: RunFolder, space: Space) -> TrainedNetwork:
        about, genotype = folder.read_json("network.json"), folder.genotype()
        try:
            shape = ImageShape(
                int(about["image_channels"]),
                (int(about["image_size"][0]), int(about["image_size"][1])),
                len(about["classes"]),
            )
            classes = tuple(str(name) for name in about["classes"])
            pixels = Pixels.read(about)
            form = {"channels": about["channels"], "cells": about["cells"], "auxiliary": bool(about["auxiliary"])}
            named, streamed = about.get("form"), bool(about.get("streamed", False))  # older networks have neither
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            raise Refused(f"{folder.path / 'network.json'} is damaged: it does not describe a network") from None
        try:
            network = network_of(space, genotype, shape, form=named, **form)
        except Refused as error:
            if not isinstance(space, ModuleSpace):
                raise
            raise Refused(f"module= is not the module of {folder.path}: {error}") from None
        network.load_state_dict(folder.load_tensors("network.safetensors", network.state_dict()))
        return TrainedNetwork(
            network.eval(), genotype, shape, classes, pixels, folder.history(), folder.result(), folder.path, streamed,
            channels_last(space),
        )  # fmt: skip
