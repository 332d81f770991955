"""Text from end to end: search, selection, retraining, evaluation, resume; and what is refused before anything runs."""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from poise.cli.main import main
from poise.config.resolve import resolve
from poise.data import TextBatches, TextSource
from poise.engine.checkpointer import RunControl
from poise.engine.device import Place
from poise.engine.events import EpochEnded, Event
from poise.engine.language import evaluate_text
from poise.report.progress import epoch_line
from poise.tasks.language import TrainedLanguageModel
from poise.workflow.plan import dry_run
from poise.workflow.prepare import Preparation

SETTINGS: dict[str, Any] = {
    "search.epochs": 2, "search.batch_size": 4, "search.text.sequence": 6, "search.weights.learning_rate": 1.0,
    "search.weights.final_learning_rate": 1.0, "train.epochs": 2, "train.batch_size": 4, "train.text.sequence": 6,
    "train.channels": 6, "train.weights.learning_rate": 1.0, "train.weights.final_learning_rate": 1.0,
}  # fmt: skip
SPACE = poise.spaces.Recurrent(units=6, nodes=3)


def sentences(count: int, seed: int) -> str:
    """A language with something to learn: after every word comes one of two."""
    draw, word, found = random.Random(seed), 0, []
    for number in range(count):
        found.append(f"w{word}" if number % 9 else f"w{word}\n")
        word = (2 * word + draw.randrange(2)) % 8
    return " ".join(found) + " <unk>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("data") / "text"
    root.mkdir()
    for split, count in (("train", 400), ("valid", 120), ("test", 120)):
        (root / f"{split}.txt").write_text(sentences(count, count + len(split)))
    return root


def search(data: Any, **given: Any) -> poise.SearchResult:
    settings = SETTINGS | given.pop("settings", {})
    return poise.search(data, **{"space": SPACE, "method": "darts", "preset": "demo"} | given, settings=settings)


def same_weights(one: Any, other: Any) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def searched(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> poise.SearchResult:
    return search(folder, out=tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def trained(searched: poise.SearchResult) -> TrainedLanguageModel:
    assert searched.folder is not None
    found = poise.train(searched.folder, out=searched.folder / "net")
    assert isinstance(found, TrainedLanguageModel)
    return found


def test_a_search_finds_a_cell_and_is_the_same_again(searched: poise.SearchResult, folder: Path) -> None:
    SPACE.check(searched.genotype)
    assert len(searched.genotype.choices["recurrent"]) == 3
    assert [set(record) >= {"train_perplexity", "search_perplexity"} for record in searched.history] == [True, True]
    assert searched.folder is not None
    for name in ("genotype.json", "figures/cells.svg", "figures/curves.svg", "report.html", "supernet.safetensors"):
        assert (searched.folder / name).is_file()
    again = search(folder)
    assert same_weights(searched.supernet, again.supernet)
    assert all(torch.equal(searched.alphas[name], again.alphas[name]) for name in again.alphas)
    other = search(folder, seed=1)
    assert not same_weights(searched.supernet, other.supernet)


def test_selection_with_another_rule(searched: poise.SearchResult) -> None:
    rules = {"selection.tune_epochs": 0, "selection.criterion": "loss"}
    assert searched.folder is not None
    found = poise.select(searched.folder, "perturbation", settings=rules)
    SPACE.check(found.genotype)
    poise.select(searched.folder, "magnitude")


@pytest.mark.parametrize("method", ["sdarts-rs", "fair-darts", "poise"])
def test_other_methods_end_in_a_cell(method: str, folder: Path) -> None:
    found = search(folder, method=method, settings={"search.epochs": 1, "search.text.words": 150})
    SPACE.check(found.genotype)


def test_retraining_learns_and_says_perplexities(trained: TrainedLanguageModel, folder: Path) -> None:
    assert [record["epoch"] for record in trained.history] == [0, 1]
    assert trained.history[-1]["valid_perplexity"] < trained.history[0]["valid_perplexity"] < len(trained.words)
    result = trained.result
    assert result["parameters"] == sum(weight.numel() for weight in trained.network.parameters())
    for split in ("valid", "test"):
        assert result[f"{split}_perplexity"] == pytest.approx(math.exp(result[f"{split}_loss"]))
    best = min(record["valid_loss"] for record in trained.history)
    assert result["valid_loss"] == pytest.approx(best, rel=1e-6)
    assert trained.folder is not None
    loaded = poise.load_network(trained.folder)
    assert isinstance(loaded, TrainedLanguageModel)
    assert loaded.words == trained.words
    assert same_weights(loaded.network, trained.network)
    for split, columns in (("valid", 10), ("test", 1)):  # as published
        text = poise.data.open_data(folder).load(split)  # type: ignore[arg-type]
        batches = TextBatches(text, columns, sequence=6, vary=False, device="cpu")
        assert evaluate_text(loaded.network, batches, Place.open("cpu"))["loss"] == result[f"{split}_loss"]
    measured = poise.evaluate(trained.folder, folder)
    assert measured["perplexity"] == pytest.approx(poise.evaluate(loaded, folder)["perplexity"])
    assert measured["loss"] == pytest.approx(result["test_loss"], rel=0.05)  # in pieces of another length: same words


def test_a_genotype_file_and_texts_from_python(tmp_path: Path) -> None:
    file = tmp_path / "cell.txt"
    file.write_text("Genotype(recurrent=[('tanh', 0), ('sigmoid', 1)], concat=range(1, 3))")
    texts = TextSource.of(sentences(200, 1), sentences(80, 2))
    settings = {"space.nodes": 2, **{name: value for name, value in SETTINGS.items() if name.startswith("train")}}
    found = poise.train(file, texts, settings=settings, preset="demo")
    assert isinstance(found, TrainedLanguageModel)
    assert len(found.network.cell.nodes) == 2  # type: ignore[union-attr, arg-type]
    assert "test_perplexity" not in found.result
    assert "valid_perplexity" in found.result
    with pytest.raises(poise.Refused, match="no test text to evaluate on"):
        poise.evaluate(found, texts)
    with pytest.raises(poise.Refused, match=r"was trained for 10 words .* has 4 others"):
        poise.evaluate(found, TextSource.of("a b a b <unk>", "a", "b"))


def test_stopped_runs_go_on_to_the_last_bit(
    searched: poise.SearchResult, trained: TrainedLanguageModel, folder: Path, tmp_path: Path
) -> None:
    class Stops:
        """Asks to stop after so many steps."""

        def __init__(self, after: int) -> None:
            self.left = after

        def asked(self) -> bool:
            self.left -= 1
            return self.left < 0

    with pytest.raises(poise.Stopped):
        search(folder, out=tmp_path / "run", control=RunControl(asked=Stops(17).asked))
    resumed = poise.resume(tmp_path / "run")
    assert isinstance(resumed, poise.SearchResult)
    assert same_weights(resumed.supernet, searched.supernet)
    assert resumed.genotype == searched.genotype
    with pytest.raises(poise.Stopped):
        poise.train(tmp_path / "run", out=tmp_path / "net", control=RunControl(asked=Stops(20).asked))
    ended = poise.resume(tmp_path / "net")
    assert isinstance(ended, TrainedLanguageModel)
    assert same_weights(ended.network, trained.network)
    assert ended.result == trained.result


def test_what_does_not_fit_is_refused_before_anything_runs(
    folder: Path, tmp_path: Path, trained: TrainedLanguageModel
) -> None:
    def refused(message: str, data: Any, **given: Any) -> None:
        with pytest.raises(poise.Refused, match=message):
            search(data, out=tmp_path / "run", **given)
        assert not (tmp_path / "run").exists()

    refused("'recurrent' is for text, but digits holds images; pass a folder with train.txt", "digits")
    with pytest.raises(poise.Refused, match="'darts' is for images, but text is text; a space for text is 'recurrent'"):
        poise.search(folder, space="darts", method="darts")
    for name, value in (
        ("search.cutout", 4),
        ("data.size", 8),
        ("search.images_per_half", 10),
        ("train.flip", True),
        ("train.colour_jitter", 0.4),
        ("data.workers", 1),
        ("train.cells", 3),
    ):
        refused(rf"{name} means nothing here: the task is language", folder, settings={name: value})
    with pytest.raises(poise.Refused, match=r"search.text means nothing here: the task is classification"):
        poise.search("digits", space="darts", settings={"search.text.sequence": 10})
    refused(r"no drop-path; set train.drop_path to 0", folder, settings={"train.drop_path": 0.1})
    refused(r"no auxiliary; set train.auxiliary to 0", folder, settings={"train.auxiliary": 0.4})
    refused("alignment=layer: .* at least 2 layers", folder, method="lambda-darts")
    refused("no cells with edges", folder, method="pc-darts")
    refused("words do not fill 300 columns", folder, settings={"search.batch_size": 300})
    refused("unknown setting .*search.text.length", folder, settings={"search.text.length": 3})
    with pytest.raises(poise.Refused, match=r"noise.* a share to drop, below 1"):
        resolve(space="recurrent", overrides=[("space.noise.hidden", 1.5)])
    with pytest.raises(poise.Refused, match=r"space.noise"):
        resolve(space="recurrent", overrides=[("space.noise.hiden", 0.5)])
    with pytest.raises(poise.Refused, match=r"no drop-path; set train.drop_path to 0"):
        poise.train(trained.genotype, folder, space=SPACE, settings={"train.drop_path": 0.1}, preset="demo")
    with pytest.raises(poise.Refused, match="exports are for networks that classify images"):
        poise.export(trained, "onnx", tmp_path / "model")
    cell = "normal=[('sep_conv_3x3', 0), ('skip_connect', 1)]"
    genotype = poise.Genotype.parse(f"Genotype({cell}, {cell.replace('normal', 'reduce')})")
    with pytest.raises(poise.Refused, match="'darts' is for images"):
        poise.train(genotype, folder, preset="demo")


def test_damaged_networks_are_refused(trained: TrainedLanguageModel, tmp_path: Path) -> None:
    assert trained.folder is not None
    copy = tmp_path / "net"
    shutil.copytree(trained.folder, copy)
    about = json.loads((copy / "network.json").read_text())
    (copy / "network.json").write_text(json.dumps({**about, "units": "many"}))
    with pytest.raises(poise.Refused, match="does not describe a language model"):
        poise.load_network(copy)
    (copy / "network.json").write_text(json.dumps({**about, "words": about["words"][:-1]}))
    with pytest.raises(poise.Refused, match="does not fit the run's configuration"):
        poise.load_network(copy)


def test_the_search_does_not_read_the_test_text(folder: Path, tmp_path: Path) -> None:
    class Forbidden(Exception):
        pass

    def forbidden() -> str:
        raise Forbidden

    texts = {"train": lambda: sentences(200, 1), "valid": lambda: sentences(80, 2), "test": forbidden}
    search(TextSource("text", texts), settings={"search.epochs": 1})
    overrides = {**SETTINGS, "search.text.words": 70}
    settings = resolve(space=SPACE, preset="demo", overrides=list(overrides.items()))
    material = Preparation.of(settings, TextSource("text", texts)).material
    assert [len(half) for half in material.halves] == [70, 70], "the first words of either text"
    assert material.shape == poise.spaces.TextShape(len(material.halves[0].words), 4)  # type: ignore[attr-defined]


def test_the_published_settings_of_methods_are_for_images() -> None:
    found = resolve(space="recurrent", method="fair-darts", preset="paper").search
    assert (found.weights.learning_rate, found.batch_size, found.weights.clip) == (20.0, 256, 0.25)
    assert resolve(space="darts", method="fair-darts", preset="paper").search.batch_size == 128


def test_plan(folder: Path) -> None:
    settings = resolve(space=SPACE, method="darts", preset="demo", data=str(folder), overrides=list(SETTINGS.items()))
    plan = dry_run(settings, steps=1)
    assert plan.unit == "words"
    assert plan.training_images > 400
    assert plan.alphas == 30


def test_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: TrainedLanguageModel
) -> None:
    def poise_says(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(words)
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    code, text = poise_says("evaluate", str(trained.folder), "--data", str(folder))
    assert code == 0
    assert "perplexity" in text
    code, text = poise_says("show", str(trained.folder))
    assert code == 0
    assert "valid perplexity" in text
    code, text = poise_says("search", "--data", str(folder), "--space", "darts", "--out", str(tmp_path / "no"))
    assert code == 2
    assert "is for images, but text is text" in text
    code, text = poise_says("export", str(trained.folder), "--to", "onnx")
    assert code == 2


def test_events_tell_of_perplexity(folder: Path) -> None:
    seen: list[Event] = []
    search(folder, settings={"search.epochs": 1}, listen=seen.append)
    (record,) = [event.record for event in seen if isinstance(event, EpochEnded)]
    line = epoch_line("search", dict(record))
    assert f"perplexity {record['search_perplexity']:.4g}" in line[line.index("search loss") :]


def test_reduced_and_double_precision(folder: Path) -> None:
    for precision in ("bf16-mixed", "64"):
        given = {"search.epochs": 1, "search.text.words": 150, "train.epochs": 1, "train.text.words": 150}
        found = search(folder, precision=precision, settings=given)
        assert math.isfinite(found.history[-1]["train_loss"])
        trained = poise.train(found, settings=given)
        assert math.isfinite(trained.result["test_loss"])


def test_auto_batch_and_frozen_values(folder: Path) -> None:
    found = search(folder, auto_batch=True, settings={"search.epochs": 1})
    assert found.settings.search.batch_size == 4
    assert replace(SPACE, nodes=4).groups[0].shape == (10, 5)
