"""Language: the next word of a text; a recurrent architecture is trained as a language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from poise.config.settings import RunSettings
from poise.config.values import plain
from poise.data import Text, TextBatches, TextSource, open_data
from poise.data.batched import Batched
from poise.data.text import text_fingerprint
from poise.engine.batch_memory import Step
from poise.engine.checkpointer import Checkpointer
from poise.engine.device import Place
from poise.engine.events import Listener
from poise.engine.language import evaluate_text, text_step, train_text
from poise.engine.objective import ACCURACY, NEXT_WORD, Metric, Objective
from poise.engine.predict import Predictor
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.export.exports import Export
from poise.genotype import Genotype
from poise.report.summary import Summarised, Summary, drawing, epochs, listed, measured
from poise.spaces.space import SPACES, Space, TextShape
from poise.supernet.inputs import SEARCH, TRAINING
from poise.tasks.task import TASKS

COLUMNS = {"valid": 10, "test": 1}
"""Columns that a split is read in when it is measured, as published; the rest of its words is left out."""
SEQUENCE = 35
"""Words of a column that a saved network is measured on at once; it changes nothing but the time."""


def open_text(spec: object, space: str) -> TextSource:
    """The text that ``spec`` means. Raises `Refused` if it is images."""
    source = open_data(spec)
    if not isinstance(source, TextSource):
        raise Refused(
            f"space {space!r} is for text, but {source.name} holds images; pass a folder with train.txt, valid.txt and "
            "test.txt as --data"
        )
    return source


def beginning(text: Text, words: int | None) -> Text:
    """The first ``words`` words of a text; None: all."""
    return text if words is None else Text(text.tokens[:words], text.words)


@dataclass(frozen=True)
class TextMaterial:
    """Satisfies `poise.tasks.task.Material`."""

    settings: RunSettings
    source: TextSource
    place: Place

    unit: ClassVar[str] = "words"
    objective: ClassVar[Objective] = NEXT_WORD

    @cached_property
    def halves(self) -> tuple[Text, Text]:
        """The training text and the validation text. The test text is not touched."""
        words = self.settings.search.text.words
        return beginning(self.source.load("train"), words), beginning(self.source.load("valid"), words)

    @property
    def fingerprint(self) -> str:
        """Of the texts that the search sees."""
        return text_fingerprint(*self.halves)

    @cached_property
    def shape(self) -> TextShape:
        """What the supernet takes and gives."""
        return TextShape(len(self.halves[0].words), self.settings.search.batch_size)

    @cached_property
    def batches(self) -> tuple[TextBatches, TextBatches]:
        """Batches of the two texts."""
        form = self.settings.search
        made = [
            TextBatches(
                text, form.batch_size, sequence=form.text.sequence, vary=form.text.vary, stream=stream,
                device=self.place.device,
            )
            for text, stream in zip(self.halves, (TRAINING, SEARCH), strict=True)
        ]  # fmt: skip
        return made[0], made[1]

    @property
    def final_shape(self) -> TextShape:
        """That of the supernet."""
        return self.shape

    def notes(self) -> Iterator[str]:
        """Nothing is left out of a text."""
        return iter(())


@dataclass(frozen=True, repr=False)
class TrainedLanguageModel(Summarised):
    """A retrained language model, and what is needed to use it; printed, a summary of it.

    ``network(tokens, hidden)`` takes words as indices into ``words``, ``[time, texts]``, and the last hidden state or
    None; see `poise.spaces.recurrent_network.Reading`.
    """

    network: nn.Module
    genotype: Genotype
    shape: TextShape
    words: tuple[str, ...]
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, float]
    folder: Path | None

    def summary(self) -> Summary:
        """What it measures, and what to do next."""
        rows = [
            *measured({"parameters": self.parameters, **self.result}),
            ("words", listed(self.words)),
            ("folder", "not saved" if self.folder is None else str(self.folder)),
            ("next", "poise.evaluate(model, data)"),
        ]
        title = f"A language model of space {self.genotype.space}, trained for {epochs(len(self.history))}"
        return Summary(title, rows, drawing(self.genotype))

    @property
    def parameters(self) -> int:
        """Parameters; embedding and decoder share theirs."""
        return sum(weight.numel() for weight in self.network.parameters())

    def facts(self, settings: RunSettings) -> dict[str, Any]:
        fields = plain(settings.space)
        units = settings.train.channels
        return {
            "space": self.genotype.space, "task": {"name": Language.name}, "fields": fields, "units": units,
            "words": list(self.words),
        }  # fmt: skip

    def evaluate(
        self, data: Any, device: str, precision: str, batch_size: int, skip_bad_images: bool, listen: Listener
    ) -> dict[str, float]:
        """``perplexity``, mean ``loss`` and ``accuracy`` of the next word."""
        source = open_text(data, self.genotype.space)
        if not source.has("test"):
            raise Refused(f"{source.name} has no test text to evaluate on")
        text, place = self._in_its_words(source), Place.open(device, precision)
        return evaluate_text(place.put(self.network), _measured(text, "test", SEQUENCE, place), place)

    def _in_its_words(self, source: TextSource) -> Text:
        """The test text. Raises `Refused` unless the source's vocabulary is the one that it was trained for."""
        if source.words != self.words:
            raise Refused(
                f"the network was trained for {len(self.words):,} words ({', '.join(self.words[:3])}, ...); the "
                f"training text of {source.name} has {len(source.words):,} others or in another order"
            )
        return source.load("test")

    def predictor(self, device: str, precision: str) -> Predictor:
        raise Refused("a language model predicts the next word of a text, no labels of files; call its network")

    def export(self, write: Export, path: Path) -> list[Path]:
        raise Refused(
            "exports are for networks that classify images; a language model's weights are network.safetensors in its "
            "folder, and poise.load_network builds it"
        )


@dataclass(frozen=True)
class TextSupply:
    """Satisfies `poise.tasks.task.Supply`: the texts, whatever there is of them."""

    words: tuple[str, ...]
    training: Text
    valid: Text
    test: Text | None
    settings: RunSettings
    place: Place

    objective: ClassVar[Objective] = NEXT_WORD

    @property
    def shape(self) -> TextShape:
        return TextShape(len(self.words), self.settings.train.batch_size)

    def fingerprint(self) -> str:
        return text_fingerprint(self.training, self.valid, *([] if self.test is None else [self.test]))

    def batches(self, count: int) -> TextBatches:
        form = self.settings.train.text
        return TextBatches(self.training, count, sequence=form.sequence, vary=form.vary, device=self.place.device)

    def step(self, network: nn.Module, settings: RunSettings, batches: Batched) -> Step:
        assert isinstance(batches, TextBatches)
        return text_step(network, settings.train, batches, self.place)

    def train(
        self,
        network: nn.Module,
        settings: RunSettings,
        batches: Batched,
        listen: Listener,
        saver: Checkpointer,
        rate: float,
    ) -> list[dict[str, Any]]:
        assert isinstance(batches, TextBatches)
        valid = _measured(self.valid, "valid", settings.train.text.sequence, self.place)
        return train_text(network, settings.train, batches, valid, self.place, settings.seed, listen, saver, rate)

    def trained(
        self, network: nn.Module, genotype: Genotype, settings: RunSettings, folder: Path | None
    ) -> TrainedLanguageModel:
        return TrainedLanguageModel(network, genotype, self.shape, self.words, [], {}, folder)

    def measured(self, network: nn.Module, settings: RunSettings) -> dict[str, float]:
        """``perplexity``, ``loss`` and ``accuracy`` of ``valid_`` and, where there is one, of ``test_``."""
        found: dict[str, float] = {}
        for split, text in (("valid", self.valid), ("test", self.test)):
            if text is not None:
                batches = _measured(text, split, settings.train.text.sequence, self.place)
                values = evaluate_text(network, batches, self.place)
                found |= {f"{split}_{name}": value for name, value in values.items()}
        return found


def _measured(text: Text, split: str, sequence: int, place: Place) -> TextBatches:
    columns = min(COLUMNS[split], max(len(text) // 2, 1))
    return TextBatches(text, columns, sequence=sequence, vary=False, device=place.device)


def check_alone(place: Place) -> None:
    """Raise `Refused` where several processes are to read a text: a hidden state goes from piece to piece."""
    if not place.processes.alone:
        raise Refused(f"a text is read by one process, got {place.processes.count}; run it on one device")


@TASKS.add("language")
@dataclass(frozen=True)
class Language:
    """The next word, by cross-entropy; measured by perplexity."""

    name: ClassVar[str] = "language"
    shapes: ClassVar[tuple[type, ...]] = (TextShape,)
    unused: ClassVar[tuple[str, ...]] = (
        "data.size", "data.search_fraction", "data.split_file", "data.skip_bad_images",
        *(f"{stage}.{name}" for stage in ("search", "train") for name in ("crop_padding", "flip", "cutout")),
        "search.max_size", "search.images_per_half", "train.label_smoothing",
        "search.label_smoothing", "train.form", "train.crop_area",
        "train.colour_jitter", "train.cells", "train.compile", "data.streaming", "data.workers",
    )  # fmt: skip
    example: ClassVar[TextShape] = TextShape(10, 1)
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    exports: ClassVar[bool] = False
    measures: ClassVar[tuple[Metric, ...]] = (ACCURACY,)

    def check(self, settings: RunSettings) -> None:
        """What no recurrent network has. A search says so as well, whose network will be trained."""
        for name in ("drop_path", "auxiliary"):
            if getattr(settings.train, name):
                raise Refused(f"a recurrent network has no {name.replace('_', '-')}; set train.{name} to 0")

    def material(self, settings: RunSettings, spec: Any, place: Place) -> TextMaterial:
        check_alone(place)
        return TextMaterial(settings, open_text(spec, settings.space.name), place)

    def supply(self, settings: RunSettings, spec: Any, place: Place, listen: Listener) -> TextSupply:
        check_alone(place)
        source = open_text(spec, settings.space.name)
        training, valid = beginning(source.load("train"), settings.train.text.words), source.load("valid")
        test = source.load("test") if source.has("test") else None
        return TextSupply(source.words, training, valid, test, settings, place)

    def load(self, folder: RunFolder, space: Space) -> TrainedLanguageModel:
        about, genotype = folder.read_json("network.json"), folder.genotype()
        try:
            nodes, units = int(about["fields"]["nodes"]), about["units"]
            words = tuple(str(word) for word in about["words"])
            if units is not None and type(units) is not int:
                raise TypeError
        except (KeyError, TypeError, ValueError):
            raise Refused(f"{folder.path / 'network.json'} is damaged: it does not describe a language model") from None
        own: Any = SPACES[genotype.space]
        task = TextShape(len(words), 1)
        network = own(nodes=nodes).network(genotype, task, channels=units)
        network.load_state_dict(folder.load_tensors("network.safetensors", network.state_dict()))
        return TrainedLanguageModel(
            network.eval(), genotype, task, words, folder.history(), folder.result(), folder.path
        )
