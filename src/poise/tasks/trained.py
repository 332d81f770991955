"""A retrained network from inputs to labels, and how it is used."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from poise.config.settings import RunSettings
from poise.data.labels import Seen
from poise.data.streaming import workers_explained
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.objective import Objective
from poise.engine.predict import Predicted, Prediction, Predictor
from poise.engine.run import RunFolder
from poise.engine.train import evaluate
from poise.errors import Refused
from poise.export.card import Card
from poise.export.exports import Export
from poise.genotype import Genotype
from poise.report.summary import Summarised, Summary, drawing, epochs, headline, listed
from poise.spaces.custom import ModuleSpace
from poise.spaces.forms import network_of
from poise.spaces.space import Shape, Space, channels_last, has_heads
from poise.tasks.labelled import Labelled
from poise.tasks.sources import INPUTS, Inputs, notes_on_skipped, open_labelled
from poise.tasks.task import task_facts


@dataclass(frozen=True, repr=False)
class TrainedNetwork(Summarised):
    """A retrained network, and what is needed to use it; printed, a summary of it. Satisfies
    `poise.tasks.task.Trained`.

    ``network`` takes inputs that are normalised; `complete` takes them as they come. ``inputs`` says what these are,
    and ``seen`` is what is known of the labels that it was trained on.
    """

    network: nn.Module
    genotype: Genotype
    task: Labelled
    seen: Seen
    inputs: Inputs
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, float]
    folder: Path | None
    channels_last: bool = True
    """How images lay that it saw."""

    @property
    def shape(self) -> Shape:
        """What it takes and gives."""
        return self.inputs.shape

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, or of the quantities."""
        return self.seen.names

    def summary(self) -> Summary:
        """What it measures, takes and gives, and what to do next."""
        rows = [
            *headline({"parameters": self.parameters, **self.result}, self.history),
            *([(self.task.named, listed(self.names))] if self.names else []),
            (self.inputs.kind, self.inputs.described),
            ("folder", "not saved" if self.folder is None else str(self.folder)),
            ("next", "poise.evaluate(network, data), poise.predict(network, inputs), poise.export(network, 'onnx')"),
        ]
        title = f"A network of space {self.genotype.space}, trained for {epochs(len(self.history))}"
        return Summary(title, rows, drawing(self.genotype))

    @property
    def complete(self) -> nn.Module:
        """Normalisation, network, and what finishes its outputs: inputs as they come -> of classes, logits
        ``[batch, classes]``; see the task's ``finish``.

        The values of images ``[batch, channels, height, width]`` are those of the training data divided by
        ``inputs.pixels.unit``: in 0..1 where these were 8-bit values, else as they were.
        """
        network = copy.deepcopy(self.network).cpu().float()
        return self.inputs.complete(network, self.task.finish(self.seen)).eval()

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
            "task": task_facts(self.task),
            "labels": self.seen.facts,
            "inputs": self.inputs.facts,
        }

    @staticmethod
    def load(task: Labelled, folder: RunFolder, space: Space) -> TrainedNetwork:
        """A network that was saved. Raises `Refused` if it is damaged, or the space is not that of its module."""
        about, genotype = folder.read_json("network.json"), folder.genotype()
        try:
            seen, inputs = Seen.of(about["labels"]), INPUTS[about["inputs"]["kind"]].of(about["inputs"])
            form = {name: about[name] for name in ("form", "channels", "cells")}
            form["auxiliary"] = bool(about["auxiliary"])
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            raise Refused(f"{folder.path / 'network.json'} is damaged: it does not describe a network") from None
        try:
            shape: Shape = inputs.shape
            network = network_of(space, genotype, shape, **form)
        except Refused as error:
            if not isinstance(space, ModuleSpace):
                raise
            raise Refused(f"module= is not the module of {folder.path}: {error}") from None
        network.load_state_dict(folder.load_tensors("network.safetensors", network.state_dict()))
        return TrainedNetwork(
            network.eval(), genotype, task, seen, inputs, folder.history(), folder.result(), folder.path,
            channels_last(space),
        )  # fmt: skip

    def evaluate(
        self, data: Any, device: str, precision: str, batch_size: int, skip_bad_images: bool, listen: Listener
    ) -> dict[str, float]:
        """All metrics of the task, and the mean ``loss``."""
        source = open_labelled(data, self.genotype.space, self.task.labels, skip_bad_images)
        tested = tested_by(self.inputs, source, self.task, self.seen)
        for text in notes_on_skipped(source):
            listen(Noted(text))
        place = Place.open(device, precision, self.channels_last)
        return measure(self.network, self.inputs, tested, batch_size, place, self.task.objective(self.seen))

    def predictor(self, device: str, precision: str) -> Predictor:
        place, finish = Place.open(device, precision, self.channels_last), self.task.finish(self.seen)

        def answers(outputs: Any) -> list[Prediction]:
            return self.task.predictions(outputs if finish is None else finish(outputs), self.seen)

        return Predictor(self.inputs.intake, self.inputs.forward(self.network, place), answers)

    def predict(
        self, inputs: Any, *, device: str = "auto", precision: str = "32", batch_size: int = 256
    ) -> Iterator[Predicted]:
        """What it says of new inputs, one after the other; see `poise.predict`."""
        return self.predictor(device, precision)(inputs, batch_size)

    def export(self, write: Export, path: Path) -> list[Path]:
        return write(self.complete, path, Card(self.task, task_facts(self.task), self.seen, self.inputs, self.genotype))


def tested_by(inputs: Inputs, source: Any, task: Labelled, seen: Seen) -> Any:
    """The test split, as the network takes it. Raises `Refused` if there is none, the network is not for such data, or
    the names of its labels are others than those that it was trained for."""
    inputs.check_kind(source)
    if not source.has("test"):
        raise Refused(f"{source.name} has no test split to evaluate on")
    if tuple(source.names) != seen.names:
        raise Refused(
            f"the network was trained for {len(seen.names)} {task.named} ({', '.join(seen.names)[:60]}); the data has "
            f"{len(source.names)} ({', '.join(source.names)[:60]})"
        )
    return inputs.tested(source)


def measure(
    network: nn.Module, inputs: Inputs, tested: Any, batch_size: int, place: Place, objective: Objective
) -> dict[str, float]:
    """All metrics, and the mean ``loss``, over a test split that `tested_by` gave."""
    place.put(network)
    with workers_explained():
        return evaluate(network, inputs.ordered(tested, batch_size, place), place, objective)
