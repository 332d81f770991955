"""Retrain a recurrent architecture as a language model, evaluate it, load it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from poise.config.settings import RunSettings
from poise.data import Text, TextBatches, TextSource
from poise.data.text import text_fingerprint
from poise.engine.checkpoint import State
from poise.engine.device import Place
from poise.engine.events import Listener
from poise.engine.keeper import Keeper
from poise.engine.language import evaluate_text, text_step, train_text
from poise.engine.run import RunFolder
from poise.engine.streams import seed_of, seeded
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.genotype import Genotype
from poise.report.summary import Summarised, Summary, epochs, listed, measured
from poise.spaces.space import SPACES, Space, TextTask
from poise.workflow.context import RunContext
from poise.workflow.material import check_settings
from poise.workflow.memory import fitting, memory_explained
from poise.workflow.show import draw_training, drawing
from poise.workflow.text import UNUSED, beginning, check_network, open_text

COLUMNS = {"valid": 10, "test": 1}
"""Columns that a split is read in when it is measured, as published; the rest of its words is left out."""


@dataclass(frozen=True, repr=False)
class TrainedLanguageModel(Summarised):
    """A retrained language model, and what is needed to use it; printed, a summary of it.

    ``network(tokens, hidden)`` takes words as indices into ``words``, ``[time, texts]``, and the last hidden state or
    None; see `poise.spaces.recurrent_network.Reading`.
    """

    network: nn.Module
    genotype: Genotype
    task: TextTask
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


def check_language(settings: RunSettings, space: Space) -> None:
    """Raise `Refused` for settings that mean nothing in the training of a language model."""
    check_settings(settings, UNUSED, f"space {space.name!r} is for text")
    check_network(settings)


def train_language_as(
    genotype: Genotype, base: RunSettings, space: Space, data: Any, context: RunContext
) -> TrainedLanguageModel:
    """`poise.workflow.retrain.train_as` for text; what is checked for all data has been checked."""
    check_language(base, space)
    space.check(genotype)
    place = Place.open(base.device, base.precision)
    source = open_text(data, space.name)
    training, valid = beginning(source.load("train"), base.train.text.words), source.load("valid")
    test = source.load("test") if source.has("test") else None  # what is wrong with it is said now, not after hours
    batches, measured = _batches(training, base, place), _measured(valid, "valid", base.train.text.sequence, place)
    task = TextTask(len(source.words), base.train.batch_size)
    with seeded(seed_of(base.seed, "network"), place.device):
        network = space.network(genotype, task, channels=base.train.channels, cells=base.train.cells)
    if context.auto_batch:
        base = fitting(base, text_step(network, base.train, batches, place), context.listen)
        batches = _batches(training, base, place)
    trained = TrainedLanguageModel(network, genotype, task, source.words, [], {}, context.out)
    seen = lambda: text_fingerprint(training, valid, *([] if test is None else [test]))  # noqa: E731
    with context.opened("train", base, seen, {"genotype.json": genotype.to_json()}) as output:
        if folder := output.holding("result.json"):
            folder.clear()  # it was finished before, and perhaps killed after that
            return load_language(folder)
        history = _train(trained, base, batches, measured, place, output, context)
        _save(output, trained, space, base)
        result = _result(trained, valid, test, base, place)
        output.write("result.json", json.dumps(result, indent=2))
        output.clear()
    return replace(trained, history=history, result=result)


def _batches(text: Text, base: RunSettings, place: Place) -> TextBatches:
    form = base.train
    return TextBatches(text, form.batch_size, sequence=form.text.sequence, vary=form.text.vary, device=place.device)


def _measured(text: Text, split: str, sequence: int, place: Place) -> TextBatches:
    columns = min(COLUMNS[split], max(len(text) // 2, 1))
    return TextBatches(text, columns, sequence=sequence, vary=False, device=place.device)


def _train(
    trained: TrainedLanguageModel, base: RunSettings, batches: TextBatches, valid: TextBatches, place: Place,
    output: Output, context: RunContext,
) -> list[dict[str, Any]]:  # fmt: skip
    network = trained.network
    go_back = context.going_back(network)

    def work(start: State, keeper: Keeper, rate: float, listen: Listener) -> list[dict[str, Any]]:
        go_back(start)
        return train_text(network, base.train, batches, valid, place, base.seed, listen, keeper, rate)

    with memory_explained(text_step(network, base.train, batches, place)):
        return context.persevere(work, output, "train", output.start(context.note))


def _result(
    trained: TrainedLanguageModel, valid: Text, test: Text | None, base: RunSettings, place: Place
) -> dict[str, float]:
    """What is known of a trained network: its size, and how it does on the validation and the test text."""
    found: dict[str, float] = {"parameters": trained.parameters}
    for split, text in (("valid", valid), ("test", test)):
        if text is not None:
            batches = _measured(text, split, base.train.text.sequence, place)
            measured = evaluate_text(trained.network, batches, place)
            found |= {f"{split}_{name}": value for name, value in measured.items()}
    return found


def _save(output: Output, trained: TrainedLanguageModel, space: Space, base: RunSettings) -> None:
    fields = {name: value for name, value in base.space.items() if name != "name"}
    about = {"space": space.name, "fields": fields, "units": base.train.channels, "words": list(trained.words)}
    output.save_tensors("network.safetensors", trained.network.state_dict())
    output.write("network.json", json.dumps(about))
    draw_training(output)


def load_language(folder: RunFolder) -> TrainedLanguageModel:
    """A language model that was saved. Raises `Refused` if it is damaged."""
    about, genotype = folder.read_json("network.json"), folder.genotype()
    try:
        nodes, units = int(about["fields"]["nodes"]), about["units"]
        words = tuple(str(word) for word in about["words"])
        if units is not None and type(units) is not int:
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise Refused(f"{folder.path / 'network.json'} is damaged: it does not describe a language model") from None
    space: Any = SPACES[genotype.space]
    task = TextTask(len(words), 1)
    network = space(nodes=nodes).network(genotype, task, channels=units)
    network.load_state_dict(folder.load_tensors("network.safetensors", network.state_dict()))
    result = folder.read_json("result.json") if (folder.path / "result.json").is_file() else {}
    return TrainedLanguageModel(network.eval(), genotype, task, words, folder.history(), result, folder.path)


def evaluate_language(trained: TrainedLanguageModel, data: Any, place: Place, sequence: int = 35) -> dict[str, float]:
    """``perplexity``, mean ``loss`` and ``accuracy`` of the next word on the test text."""
    source = open_text(data, trained.genotype.space)
    if not source.has("test"):
        raise Refused(f"{source.name} has no test text to evaluate on")
    text = _in_words_of(trained, source)
    return evaluate_text(place.put(trained.network), _measured(text, "test", sequence, place), place)


def _in_words_of(trained: TrainedLanguageModel, source: TextSource) -> Text:
    """The test text. Raises `Refused` unless the source's vocabulary is the one that the network was trained for."""
    if source.words != trained.words:
        raise Refused(
            f"the network was trained for {len(trained.words):,} words ({', '.join(trained.words[:3])}, ...); the "
            f"training text of {source.name} has {len(source.words):,} others or in another order"
        )
    return source.load("test")
