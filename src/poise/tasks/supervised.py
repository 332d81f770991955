"""What all tasks share that go from inputs to labels: their data, the retraining, and the network that comes out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from poise.config.settings import RunSettings
from poise.data.batched import Batched
from poise.data.intake import Intake
from poise.data.labels import Labels, Seen
from poise.data.pixels import Pixels
from poise.data.sample_source import SampleSource
from poise.data.standard import Standard
from poise.data.streaming import workers_explained
from poise.engine.batch_memory import Step, training_step
from poise.engine.checkpointer import Checkpointer
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.objective import Metric, Objective
from poise.engine.predict import Predicted, Prediction, Predictor, forward_images
from poise.engine.run import RunFolder
from poise.engine.train import evaluate
from poise.engine.train import train as run_training
from poise.errors import Refused
from poise.export.card import Card
from poise.export.exports import Export
from poise.export.normalise import Normalise
from poise.genotype import Genotype
from poise.report.summary import Summarised, Summary, drawing, epochs, headline, listed
from poise.spaces.samples import SampleShape
from poise.spaces.space import ImageShape, Shape, Space, channels_last, check_dense, has_heads
from poise.tasks.fed import Fed, saved_network
from poise.tasks.images import (
    ImageMaterial,
    check_images,
    check_streaming,
    image_data,
    notes_on_skipped,
    open_images,
    open_labelled,
    testing_of,
)
from poise.tasks.samples import SampleMaterial, SampleNetwork, load_samples, sample_data
from poise.tasks.task import task_facts


@dataclass(frozen=True)
class Supervised(ABC):
    """A task from inputs to labels. Below this, one file is one task: what its labels are, what the network puts out
    for them, and what that is judged by."""

    name: ClassVar[str]
    named: ClassVar[str] = "classes"
    """What the names of its labels are names of."""
    shapes: ClassVar[tuple[type, ...]] = (ImageShape,)
    dense: ClassVar[bool] = False
    """Whether the network puts out something for every pixel."""
    unused: ClassVar[tuple[str, ...]] = ("search.text", "train.text")
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    exports: ClassVar[bool] = True

    @property
    def measures(self) -> tuple[Metric, ...]:
        """What it measures, as its objective says; empty: that is known once the data is."""
        return ()

    @property
    @abstractmethod
    def labels(self) -> Labels:
        """How the labels of the data are read."""

    @abstractmethod
    def objective(self, seen: Seen, label_smoothing: float = 0.0) -> Objective:
        """What outputs are trained and measured by, for labels such as were ``seen`` in the training split."""

    @abstractmethod
    def predictions(self, outputs: Tensor, seen: Seen) -> list[Prediction]:
        """What finished outputs say, one for each input."""

    def outputs(self, seen: Seen) -> int:
        """How many numbers the network puts out for each input (each pixel, where it is dense)."""
        return len(seen.names)

    def finish(self, seen: Seen) -> nn.Module | None:
        """What turns the network's outputs into what a person gets; None: nothing."""
        return None

    @property
    def example(self) -> ImageShape:
        return ImageShape(3, (32, 32), 10, self.dense)

    def check(self, settings: RunSettings) -> None:
        """The space must be able to put out something for every pixel; masks are held in memory."""
        check_dense(settings.space, self.example)
        if self.dense and settings.train.auxiliary:
            raise Refused(f"train.auxiliary is {settings.train.auxiliary}, but a dense head has no second; set it to 0")
        if self.dense and settings.data.streaming:
            raise Refused(f"data.streaming cannot be used for {self.name}: masks would have to move with their images")

    def material(self, settings: RunSettings, spec: Any, place: Place) -> ImageMaterial | SampleMaterial:
        source = open_labelled(spec, settings.space.name, self.labels, settings.data.skip_bad_images)
        if isinstance(source, SampleSource):
            return SampleMaterial(self, settings, source, place)
        check_images(settings)
        return ImageMaterial(self, settings, source, place)

    def supply(self, settings: RunSettings, spec: Any, place: Place, listen: Listener) -> LabelledSupply:
        check_streaming(settings)
        source = open_labelled(spec, settings.space.name, self.labels, settings.data.skip_bad_images)
        if isinstance(source, SampleSource):
            return LabelledSupply(self, settings, sample_data(self, settings, source, place, listen), place)
        check_images(settings)
        return LabelledSupply(self, settings, image_data(self, settings, source, place, listen), place)

    def load(self, folder: RunFolder, space: Space) -> TrainedNetwork | SampleNetwork:
        about, genotype = folder.read_json("network.json"), folder.genotype()
        if isinstance(about.get("shape"), dict) and "channels" not in about["shape"]:
            return load_samples(self, folder, space, about)
        try:
            seen, pixels = Seen.of(about["labels"]), Pixels.read(about["inputs"])
            sides = about["shape"]
            shape = ImageShape(
                int(sides["channels"]), (int(sides["size"][0]), int(sides["size"][1])), int(sides["outputs"]),
                bool(sides["dense"]),
            )  # fmt: skip
            form = {"channels": about["channels"], "cells": about["cells"], "auxiliary": bool(about["auxiliary"])}
            named, streamed = about["form"], bool(about["streamed"])
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            raise Refused(f"{folder.path / 'network.json'} is damaged: it does not describe a network") from None
        network = saved_network(folder, space, shape, form=named, **form)
        return TrainedNetwork(
            network, genotype, shape, self, seen, pixels, folder.history(), folder.result(), folder.path, streamed,
            channels_last(space),
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class TrainedNetwork(Summarised):
    """A retrained network, and what is needed to use it; printed, a summary of it.

    ``network`` takes normalised images; `complete` takes images as ``pixels`` says. ``seen`` is what is known of the
    labels that it was trained on.
    """

    network: nn.Module
    genotype: Genotype
    shape: ImageShape
    task: Supervised
    seen: Seen
    pixels: Pixels
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, float]
    folder: Path | None
    streamed: bool = False
    """Whether it saw streamed images, so that tests show it their middles."""
    channels_last: bool = True
    """How the images lay that it saw."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, or of the quantities."""
        return self.seen.names

    def summary(self) -> Summary:
        """What it measures, takes and gives, and what to do next."""
        rows = [
            *headline({"parameters": self.parameters, **self.result}, self.history),
            (self.task.named, listed(self.names)),
            ("images", f"{self.shape.channels} × {self.shape.size[0]} × {self.shape.size[1]}"),
            ("folder", "not saved" if self.folder is None else str(self.folder)),
            ("next", "poise.evaluate(network, data), poise.export(network, 'onnx')"),
        ]
        title = f"A network of space {self.genotype.space}, trained for {epochs(len(self.history))}"
        return Summary(title, rows, drawing(self.genotype))

    @property
    def complete(self) -> nn.Module:
        """Normalisation, network, and what finishes its outputs: images ``[batch, channels, height, width]`` -> of
        classes, logits ``[batch, classes]``; see the task's ``finish``.

        Their values are those of the training data divided by ``pixels.unit``: in 0..1 where these were 8-bit values,
        else as they were.
        """
        finish = self.task.finish(self.seen)
        parts = [Normalise(self.pixels.mean, self.pixels.std), copy.deepcopy(self.network).cpu().float()]
        return nn.Sequential(*parts, *([] if finish is None else [finish])).eval()

    @property
    def parameters(self) -> int:
        """Parameters in use after training: the auxiliary head is not counted."""
        aside = "auxiliary." if has_heads(self.network) else None
        weights = self.network.named_parameters()
        return sum(weight.numel() for name, weight in weights if aside is None or not name.startswith(aside))

    def facts(self, settings: RunSettings) -> dict[str, Any]:
        form, shape = settings.train, self.shape
        return {
            "space": self.genotype.space,
            "form": form.form,
            "channels": form.channels,
            "cells": form.cells,
            "auxiliary": form.auxiliary > 0,
            "shape": {
                "channels": shape.channels, "size": list(shape.size), "outputs": shape.outputs, "dense": shape.dense,
            },
            "task": task_facts(self.task),
            "labels": self.seen.facts,
            "inputs": self.pixels.facts,
            "streamed": self.streamed,
        }  # fmt: skip

    def evaluate(
        self, data: Any, device: str, precision: str, batch_size: int, skip_bad_images: bool, listen: Listener
    ) -> dict[str, float]:
        """All metrics of the task, and the mean ``loss``."""
        source = open_images(data, self.genotype.space, self.task.labels, skip_bad_images)
        if not source.has("test"):
            raise Refused(f"{source.name} has no test split to evaluate on")
        place = Place.open(device, precision, self.channels_last)
        testing = testing_of(source, self.task, self.shape, self.seen, self.pixels, place, streamed=self.streamed)
        for text in notes_on_skipped(source):
            listen(Noted(text))
        return _measure(self.network, testing(batch_size), place, self.task.objective(self.seen))

    def predictor(self, device: str, precision: str) -> Predictor:
        place = Place.open(device, precision, self.channels_last)
        intake = Intake(self.shape.channels, self.shape.size, self.pixels, self.streamed)
        forward, finish = forward_images(self.network, self.pixels, place), self.task.finish(self.seen)

        def answers(outputs: Tensor) -> list[Prediction]:
            return self.task.predictions(outputs if finish is None else finish(outputs), self.seen)

        return Predictor(intake, forward, answers)

    def predict(
        self, inputs: Any, *, device: str = "auto", precision: str = "32", batch_size: int = 256
    ) -> Iterator[Predicted]:
        """What it says of new images, one after the other; see `poise.predict`."""
        return self.predictor(device, precision)(inputs, batch_size)

    def export(self, write: Export, path: Path) -> list[Path]:
        card = Card(self.task, task_facts(self.task), self.seen, self.shape, self.pixels, self.genotype, self.streamed)
        return write(self.complete, path, card)


@dataclass(frozen=True)
class LabelledSupply:
    """Satisfies `poise.tasks.task.Supply`."""

    task: Supervised
    settings: RunSettings
    data: Fed
    place: Place

    @property
    def shape(self) -> Shape:
        return self.data.shape

    @property
    def objective(self) -> Objective:
        return self.task.objective(self.data.seen, self.settings.train.label_smoothing)

    def fingerprint(self) -> str:
        return self.data.fingerprint()

    def batches(self, count: int) -> Batched:
        return self.data.training(count)

    def step(self, network: nn.Module, settings: RunSettings, batches: Batched) -> Step:
        return training_step(network, settings.train, batches, self.place, self.objective)

    def train(
        self,
        network: nn.Module,
        settings: RunSettings,
        batches: Batched,
        listen: Listener,
        saver: Checkpointer,
        rate: float,
    ) -> list[dict[str, Any]]:
        with workers_explained():
            return run_training(
                network, settings.train, batches, self.place, settings.seed, listen, saver, rate, self.objective
            )

    def trained(
        self, network: nn.Module, genotype: Genotype, settings: RunSettings, folder: Path | None
    ) -> TrainedNetwork | SampleNetwork:
        shape, seen, inputs = self.data.shape, self.data.seen, self.data.inputs
        if isinstance(shape, SampleShape):
            assert isinstance(inputs, Standard)
            return SampleNetwork(network, genotype, shape, self.task, seen, inputs, [], {}, folder)
        assert isinstance(inputs, Pixels)
        return TrainedNetwork(
            network, genotype, shape, self.task, seen, inputs, [], {}, folder, settings.data.streaming,
            channels_last=self.place.channels_last,
        )  # fmt: skip

    def measured(self, network: nn.Module, settings: RunSettings) -> dict[str, float]:
        """All metrics of the task and the loss, as ``test_...``, where there is a test split."""
        if self.data.testing is None:
            return {}
        batches = self.data.testing(settings.train.batch_size)
        found = _measure(network, batches, self.place, self.task.objective(self.data.seen))
        return {f"test_{name}": value for name, value in found.items()}


def _measure(network: nn.Module, batches: Batched, place: Place, objective: Objective) -> dict[str, float]:
    place.put(network)
    with workers_explained():
        return evaluate(network, batches, place, objective)
