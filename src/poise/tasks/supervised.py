"""What all tasks share that go from inputs to labels: the data of their searches and of their retrainings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from poise.config.settings import RunSettings
from poise.data.batched import Batched
from poise.data.labels import Seen
from poise.data.streaming import workers_explained
from poise.engine.batch_memory import Step, training_step
from poise.engine.checkpointer import Checkpointer
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.objective import Objective
from poise.engine.run import RunFolder
from poise.engine.train import train as run_training
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.space import ImageShape, Shape, Space, check_dense
from poise.tasks.halves import halves_of
from poise.tasks.images import check_streaming
from poise.tasks.labelled import Labelled
from poise.tasks.sources import Data, notes_on, open_for
from poise.tasks.trained import TrainedNetwork, measure, tested_by


@dataclass(frozen=True)
class Supervised(Labelled):
    """A task from inputs to labels. Below this, one file is one task: see `Labelled`. Satisfies
    `poise.tasks.task.Task`."""

    shapes: ClassVar[tuple[type, ...]] = (ImageShape,)
    unused: ClassVar[tuple[str, ...]] = ("search.text", "train.text")
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    exports: ClassVar[bool] = True

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

    def material(self, settings: RunSettings, spec: Any, place: Place) -> LabelledMaterial:
        return LabelledMaterial(self, settings, open_for(settings, self.labels, spec), place)

    def supply(self, settings: RunSettings, spec: Any, place: Place, listen: Listener) -> LabelledSupply:
        check_streaming(settings)
        data = open_for(settings, self.labels, spec)
        source = data.source
        if source.has("test"):
            source.labels("test")  # what is wrong with it is said before images are loaded
        training: Any = data.training()
        seen = self.labels.seen(training.labels, training.names)
        inputs = data.inputs(training, self.outputs(seen))
        tested = tested_by(inputs, source, self, seen) if source.has("test") else None
        for text in notes_on(source, self.labels):
            listen(Noted(text))
        if tested is not None and (shared := data.inspect(training, tested, listen)):
            what = f"{shared} of {len(tested)} test {data.unit} are also in the training split"
            listen(Noted(f"{what}: what they measure flatters"))
        return LabelledSupply(self, settings, data, place, seen, inputs, training, tested)

    def load(self, folder: RunFolder, space: Space) -> TrainedNetwork:
        return TrainedNetwork.load(self, folder, space)


@dataclass(frozen=True)
class LabelledMaterial:
    """Satisfies `poise.tasks.task.Material`."""

    task: Supervised
    settings: RunSettings
    data: Data
    place: Place

    @property
    def unit(self) -> str:
        return self.data.unit

    @cached_property
    def halves(self) -> tuple[Any, Any]:
        strata = self.task.labels.strata(self.data.source.labels("train"))
        return self.data.halves(*halves_of(strata, self.settings, self.unit))

    @property
    def fingerprint(self) -> str:
        return self.data.fingerprint(*self.halves)

    @cached_property
    def seen(self) -> Seen:
        """What is known of the training half's labels."""
        training = self.halves[0]
        return self.task.labels.seen(training.labels, training.names)

    @property
    def objective(self) -> Objective:
        return self.task.objective(self.seen, self.settings.search.label_smoothing)

    @cached_property
    def _inputs(self) -> Any:
        return self.data.inputs(self.halves[0], self.task.outputs(self.seen))

    @property
    def shape(self) -> Shape:
        shape: Shape = self._inputs.shape
        return shape

    @cached_property
    def final_shape(self) -> Shape:
        return self.data.final_shape(self.task.outputs(Seen(self.data.source.names)))

    @cached_property
    def batches(self) -> tuple[Batched, Batched]:
        """Both halves are normalised by the training half's statistics."""
        search = self.settings.search
        training, searching = (
            self.data.batches(half, self._inputs, search.batch_size, search, self.place) for half in self.halves
        )
        return training, searching

    def notes(self) -> Iterator[str]:
        return notes_on(self.data.source, self.task.labels)


@dataclass(frozen=True)
class LabelledSupply:
    """Satisfies `poise.tasks.task.Supply`."""

    task: Supervised
    settings: RunSettings
    data: Data
    place: Place
    seen: Seen
    inputs: Any
    training: Any
    tested: Any

    @property
    def shape(self) -> Shape:
        shape: Shape = self.inputs.shape
        return shape

    @property
    def objective(self) -> Objective:
        return self.task.objective(self.seen, self.settings.train.label_smoothing)

    def fingerprint(self) -> str:
        return self.data.fingerprint(self.training, *([] if self.tested is None else [self.tested]))

    def batches(self, count: int) -> Batched:
        return self.data.batches(self.training, self.inputs, count, self.settings.train, self.place)

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
    ) -> TrainedNetwork:
        return TrainedNetwork(
            network, genotype, self.task, self.seen, self.inputs, [], {}, folder, self.place.channels_last
        )

    def measured(self, network: nn.Module, settings: RunSettings) -> dict[str, float]:
        """All metrics of the task and the loss, as ``test_...``, where there is a test split."""
        if self.tested is None:
            return {}
        objective, count = self.task.objective(self.seen), settings.train.batch_size
        found = measure(network, self.inputs, self.tested, count, self.place, objective)
        return {f"test_{name}": value for name, value in found.items()}


def shape_in(spec: Any, settings: RunSettings) -> Shape:
    """What a network of these settings takes and gives for the data that ``spec`` means. Raises `Refused` where they
    are not for it."""
    task: Labelled = settings.task
    data = open_for(settings, task.labels, spec)
    return data.final_shape(task.outputs(Seen(data.source.names)))
