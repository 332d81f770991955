"""Data that is no images, for a module of your own: the two halves of a search, what a retraining is trained and tested
on, and the network that comes out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from poise.config.settings import RunSettings
from poise.data.fingerprint import samples_fingerprint
from poise.data.labels import Seen
from poise.data.overlap import shared_rows
from poise.data.sample_batches import SampleBatches
from poise.data.sample_intake import SampleIntake
from poise.data.sample_source import SampleSource
from poise.data.samples import Samples
from poise.data.standard import Standard
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.objective import Objective
from poise.engine.predict import Predicted, Prediction, Predictor, forward_samples
from poise.engine.run import RunFolder
from poise.engine.train import evaluate
from poise.errors import Refused
from poise.export.card import SampleCard
from poise.export.exports import Export
from poise.export.standardise import Standardised
from poise.genotype import Genotype
from poise.report.summary import Summarised, Summary, drawing, epochs, headline, listed
from poise.spaces.samples import SampleShape
from poise.spaces.space import Space
from poise.supernet.trees import alike, in_order_of
from poise.tasks.fed import Fed, Feeding, check_names, saved_network
from poise.tasks.halves import halves_of
from poise.tasks.task import task_facts

if TYPE_CHECKING:
    from poise.tasks.supervised import Supervised

IMAGES_ONLY = (
    "data.size", "data.streaming", "data.workers", "search.max_size",
    *(f"{part}.{name}" for part in ("search", "train") for name in ("crop_padding", "flip", "cutout")),
    "train.crop_area", "train.colour_jitter",
)  # fmt: skip
"""Settings that mean nothing for samples."""


def check_sample_settings(settings: RunSettings, source: SampleSource) -> None:
    """Raise `Refused` for a setting that only images have."""
    for name in IMAGES_ONLY:
        section, field = name.split(".")
        values: Any = getattr(settings, section)
        if getattr(values, field) != type(values).model_fields[field].get_default():
            raise Refused(f"{name} is for images, and {source.name} is {source.described}")


@dataclass(frozen=True)
class SampleMaterial:
    """Satisfies `poise.tasks.task.Material`."""

    task: Supervised
    settings: RunSettings
    source: SampleSource
    place: Place

    unit: ClassVar[str] = "rows"

    def __post_init__(self) -> None:
        check_sample_settings(self.settings, self.source)

    @cached_property
    def halves(self) -> tuple[Samples, Samples]:
        """The training half and the search half of the training split. The test split is not touched."""
        strata = self.task.labels.strata(self.source.labels("train"))
        training, searching = halves_of(strata, self.settings, self.unit)
        return self.source.load("train", training), self.source.load("train", searching)

    @property
    def fingerprint(self) -> str:
        """Of the rows that the search sees."""
        return samples_fingerprint(*self.halves)

    @cached_property
    def seen(self) -> Seen:
        """What is known of the training half's labels."""
        training = self.halves[0]
        return self.task.labels.seen(training.labels, training.names)

    @property
    def objective(self) -> Objective:
        """What the supernet is trained and measured by."""
        return self.task.objective(self.seen, self.settings.search.label_smoothing)

    @cached_property
    def shape(self) -> SampleShape:
        """What the supernet takes and gives."""
        return self.halves[0].shape(self.task.outputs(self.seen))

    @property
    def final_shape(self) -> SampleShape:
        """The same."""
        return self.shape

    @cached_property
    def batches(self) -> tuple[SampleBatches, SampleBatches]:
        """Batches of the two halves, both standardised by the training half's statistics."""
        training, searching = self.halves
        standard = Standard.of(training.inputs, asked=self.settings.data.standardise)
        size = self.settings.search.batch_size
        return _batches(training, size, standard, self.place), _batches(searching, size, standard, self.place)

    def notes(self) -> Iterator[str]:
        """What there is to say of the labels."""
        return _notes(self.source, self.task)


def sample_data(task: Supervised, settings: RunSettings, source: SampleSource, place: Place, listen: Listener) -> Fed:
    """The rows that a retraining is trained and tested on; what is wrong with either split is said now."""
    check_sample_settings(settings, source)
    training = source.load("train")
    seen = task.labels.seen(training.labels, training.names)
    shape = training.shape(task.outputs(seen))
    standard = Standard.of(training.inputs, asked=settings.data.standardise)
    tested = source.load("test") if source.has("test") else None
    for text in _notes(source, task):
        listen(Noted(text))
    shared = 0 if tested is None else shared_rows(training, tested)
    if tested is not None and shared:
        listen(Noted(f"{shared} of {len(tested)} test rows are also in the training split: what they measure flatters"))
    splits = [training] if tested is None else [training, tested]
    return Fed(
        shape,
        seen,
        standard,
        lambda count: _batches(training, count, standard, place),
        None if tested is None else _whole(tested, standard, place),
        lambda: samples_fingerprint(*splits),
    )


@dataclass(frozen=True, repr=False)
class SampleNetwork(Summarised):
    """A retrained module of your own, and what is needed to use it; printed, a summary of it.

    ``network`` takes standardised samples; `complete` takes them as they come. ``seen`` is what is known of the labels
    that it was trained on. Satisfies `poise.tasks.task.Trained`.
    """

    network: nn.Module
    genotype: Genotype
    shape: SampleShape
    task: Supervised
    seen: Seen
    standard: Standard
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, float]
    folder: Path | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, or of the quantities."""
        return self.seen.names

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(weight.numel() for weight in self.network.parameters())

    def summary(self) -> Summary:
        """What it measures, takes and gives, and what to do next."""
        rows = [
            *headline({"parameters": self.parameters, **self.result}, self.history),
            *([(self.task.named, listed(self.names))] if self.names else []),
            ("inputs", self.shape.described),
            ("folder", "not saved" if self.folder is None else str(self.folder)),
            ("next", "poise.evaluate(network, data), poise.predict(network, inputs)"),
        ]
        title = f"A network of space {self.genotype.space}, trained for {epochs(len(self.history))}"
        return Summary(title, rows, drawing(self.genotype))

    @property
    def complete(self) -> nn.Module:
        """Standardisation, network, and what finishes its outputs: samples as they come -> of classes, logits
        ``[batch, classes]``; see the task's ``finish``."""
        network = copy.deepcopy(self.network).cpu().float()
        return Standardised(self.shape, self.standard, network, self.task.finish(self.seen)).eval()

    def facts(self, settings: RunSettings) -> dict[str, Any]:
        return {
            "space": self.genotype.space,
            "shape": self.shape.facts,
            "task": task_facts(self.task),
            "labels": self.seen.facts,
            "inputs": self.standard.facts,
        }

    def evaluate(
        self, data: Any, device: str, precision: str, batch_size: int, skip_bad_images: bool, listen: Listener
    ) -> dict[str, float]:
        """All metrics of the task, and the mean ``loss``."""
        from poise.tasks.images import open_labelled

        source = open_labelled(data, self.genotype.space, self.task.labels, skip_bad_images)
        if not source.has("test"):
            raise Refused(f"{source.name} has no test split to evaluate on")
        if not isinstance(source, SampleSource):
            raise Refused(f"the network takes {self.shape.described}, and {source.name} holds images")
        tested = source.load("test")
        ordered = Samples(in_order_of(self.shape.inputs, tested.inputs), tested.labels, tested.names)
        found = ordered.shape(self.shape.outputs)
        if not alike(found.inputs, self.shape.inputs) or found != self.shape:
            raise Refused(f"the network takes {self.shape.described}; {source.name} is rows of {found.described}")
        check_names(tested.names, self.seen.names, self.task.named, "the network")
        place = Place.open(device, precision, channels_last=False)
        place.put(self.network)
        batches = _whole(ordered, self.standard, place)(batch_size)
        return evaluate(self.network, batches, place, self.task.objective(self.seen))

    def predictor(self, device: str, precision: str) -> Predictor:
        place, finish = Place.open(device, precision, channels_last=False), self.task.finish(self.seen)

        def answers(outputs: Any) -> list[Prediction]:
            return self.task.predictions(outputs if finish is None else finish(outputs), self.seen)

        return Predictor(SampleIntake(self.shape), forward_samples(self.network, self.standard, place), answers)

    def predict(
        self, inputs: Any, *, device: str = "auto", precision: str = "32", batch_size: int = 256
    ) -> Iterator[Predicted]:
        """What it says of new rows, one after the other; see `poise.predict`."""
        return self.predictor(device, precision)(inputs, batch_size)

    def export(self, write: Export, path: Path) -> list[Path]:
        card = SampleCard(task_facts(self.task), self.seen, self.shape, self.standard, self.genotype)
        return write(self.complete, path, card)


def load_samples(task: Supervised, folder: RunFolder, space: Space, about: Mapping[str, Any]) -> SampleNetwork:
    """A network that was saved. Raises `Refused` if it is damaged, or the space is not that of its module."""
    try:
        shape, seen = SampleShape.of(about["shape"]), Seen.of(about["labels"])
        standard = Standard.read(about["inputs"])
    except (KeyError, Refused):
        raise Refused(f"{folder.path / 'network.json'} is damaged: it does not describe a network") from None
    network = saved_network(folder, space, shape, form=None, channels=None, cells=None, auxiliary=False)
    return SampleNetwork(
        network, folder.genotype(), shape, task, seen, standard, folder.history(), folder.result(), folder.path
    )


def _batches(samples: Samples, count: int, standard: Standard, place: Place) -> SampleBatches:
    return SampleBatches(samples, count, standard=standard, device=place.device, dtype=place.dtype)


def _whole(samples: Samples, standard: Standard, place: Place) -> Feeding:
    """All of them, to measure on."""

    def feed(count: int) -> SampleBatches:
        return SampleBatches(samples, count, standard=standard, device=place.device, dtype=place.dtype, drop_last=False)

    return feed


def _notes(source: SampleSource, task: Supervised) -> Iterator[str]:
    note = task.labels.note(source.labels("train"), source.names, f"the training split of {source.name}")
    if note is not None:
        yield note
