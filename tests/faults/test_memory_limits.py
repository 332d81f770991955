"""A batch that fits is picked, and running out of memory is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from poise.cli.main import main
from poise.config.resolve import resolve
from poise.data import Augmentation, Batches, Images
from poise.engine import batch_memory
from poise.engine.batch_memory import Fit, Step, available_bytes, kept_bytes, measure, search_step, training_step
from poise.engine.device import Place
from poise.engine.events import Event, Noted
from poise.engine.search import SearchTrainer
from poise.engine.settings import TrainSettings
from poise.engine.train import NetworkTrainer
from poise.spaces.space import SPACES, ImageShape
from poise.workflow import memory, retrain, search
from poise.workflow.context import RunContext
from poise.workflow.prepare import Preparation

OVERRIDES: list[tuple[str, Any]] = [
    ("space.channels", 2),
    ("space.cells", 1),
    ("search.epochs", 1),
    ("search.images_per_half", 128),
    ("search.batch_size", 64),
]


def settings() -> Any:
    return resolve(space="nasbench201", method="darts", data="digits", overrides=OVERRIDES, device="cpu")


def searching() -> Step:
    return search_step(Preparation.of(settings()).searcher())


def training() -> dict[str, Any]:
    """What `poise.train` is given for a retraining of a second."""
    sizes = {"channels": 2, "cells": 1, "epochs": 1, "batch_size": 700, "drop_path": 0, "auxiliary": 0}
    return {"data": "digits", "device": "cpu", "settings": {f"train.{name}": value for name, value in sizes.items()}}


CHAIN = poise.Genotype.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
DARTS = poise.Genotype.parse(
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)])"
)


class Notes(list[str]):
    """The messages that a listener was told."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Noted):
            self.append(event.message)


def test_the_largest_batch() -> None:
    assert Fit(fixed=1000, per_image=10).largest(1399) == 39
    assert Fit(fixed=1000, per_image=10).largest(900) == 0


def test_what_a_batch_keeps_is_foretold_from_small_ones() -> None:
    searcher = Preparation.of(settings()).searcher()
    before = {name: value.clone() for name, value in searcher.supernet.state_dict().items()}
    step = search_step(searcher)
    assert (step.setting, step.batch_size) == ("search.batch_size", 64)
    weights = 3 * sum(weight.nbytes for weight in searcher.weights.values())
    foretold(step, weights, 64)
    assert all(torch.equal(before[name], value) for name, value in searcher.supernet.state_dict().items())


def foretold(step: Step, weights: int, count: int) -> None:
    """Fail unless what is measured at small batches is what a large one keeps."""
    found, kept = measure(step), kept_bytes(step, count)
    whole = found.fixed - weights - batch_memory.RESERVE + count * found.per_image
    assert whole / batch_memory.HEADROOM == pytest.approx(kept, rel=0.05)


def test_what_a_batch_of_a_training_keeps_is_foretold_and_nothing_changes() -> None:
    """With an auxiliary head and drop-path, which keep something too."""
    images = Images(
        torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), torch.arange(64) % 10, tuple("abcdefghij")
    )
    place = Place.open("cpu")
    batches = Batches(
        images, 64, augmentation=Augmentation(), mean=(0.5,) * 3, std=(0.25,) * 3, device=place.device
    )  # fmt: skip
    network = SPACES["darts"]().network(DARTS, ImageShape(3, (32, 32), 10), channels=4, cells=3, auxiliary=True).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.random.get_rng_state()
    step = training_step(network, TrainSettings(batch_size=64), batches, place)
    assert (step.setting, step.batch_size) == ("train.batch_size", 64)
    weights = 3 * sum(weight.nbytes for weight in network.parameters())
    foretold(step, weights, 64)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), drawn)
    plain = training_step(network, TrainSettings(drop_path=0, auxiliary=0), batches, place)
    assert kept_bytes(plain, 64) < kept_bytes(step, 64)


def test_free_memory_is_known_here_or_said_not_to_be() -> None:
    found = available_bytes(Place.open("cpu"))
    assert found is None or found > 2**20


def test_a_batch_that_does_not_fit_is_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure(searching())
    monkeypatch.setattr(
        memory, "available_bytes", lambda place: int((found.fixed + 20.5 * found.per_image) / memory.USED)
    )
    notes = Notes()
    result = search.run(settings(), RunContext(tmp_path / "run", auto_batch=True, listen=notes))
    assert result.settings.search.batch_size == 20
    assert "batch_size: 20" in (tmp_path / "run" / "config.yaml").read_text()
    assert any("20 instead of 64" in note for note in notes)
    monkeypatch.setattr(memory, "available_bytes", lambda place: 2**40)
    assert memory.fitting(settings(), searching(), pytest.fail) == settings()
    monkeypatch.setattr(memory, "available_bytes", lambda place: 1)
    with pytest.raises(poise.Refused, match="not even a batch of 2"):
        memory.fitting(settings(), searching(), pytest.fail)
    monkeypatch.setattr(memory, "available_bytes", lambda place: None)
    with pytest.raises(poise.Refused, match=r"cannot be known.*search\.batch_size"):
        memory.fitting(settings(), searching(), pytest.fail)


def test_a_batch_of_a_training_that_does_not_fit_is_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Fit] = []

    def room(place: Place) -> int:
        return int((found[0].fixed + 100.5 * found[0].per_image) / memory.USED)

    def measured(step: Step) -> Fit:
        found[:] = [measure(step)]
        return found[0]

    with monkeypatch.context() as patch:
        patch.setattr(memory, "measure", measured)
        patch.setattr(memory, "available_bytes", lambda place: 2**40)
        whole = poise.train(CHAIN, **training(), out=tmp_path / "whole", auto_batch=True)
    assert "batch_size: 700" in (tmp_path / "whole" / "config.yaml").read_text()
    monkeypatch.setattr(memory, "available_bytes", room)
    notes = Notes()
    smaller = poise.train(CHAIN, **training(), out=tmp_path / "net", auto_batch=True, listen=notes)
    assert "batch_size: 100" in (tmp_path / "net" / "config.yaml").read_text()
    assert any("train.batch_size is 100 instead of 700" in note for note in notes)
    # Measuring leaves no trace: the results are those of the same batches, set by hand.
    plain = training()
    again = poise.train(CHAIN, **plain)
    plain["settings"]["train.batch_size"] = 100
    set_by_hand = poise.train(CHAIN, **plain)
    for one, other in ((whole, again), (smaller, set_by_hand)):
        weights = other.network.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in one.network.state_dict().items())
    with pytest.raises(poise.Refused, match="picked before a run begins"):
        poise.train(CHAIN, **training(), out=tmp_path / "net", auto_batch=True, resume=True)


def failing(error: Exception) -> Any:
    def work(*arguments: object, **named: object) -> None:
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
    ],
)
def test_running_out_of_memory_says_what_fits(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SearchTrainer, "step", failing(error))
    with pytest.raises(poise.Refused, match=r"out of memory at search.batch_size 64: .*search.batch_size"):
        search.run(settings(), RunContext(tmp_path / "run"))


@pytest.mark.parametrize("saved", [True, False])
def test_so_does_a_training(saved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NetworkTrainer, "step", failing(MemoryError()))
    monkeypatch.setattr(memory, "measure", lambda step: Fit(0, 2**20 * memory.USED))
    monkeypatch.setattr(memory, "available_bytes", lambda place: 50.5 * 2**20)
    with pytest.raises(poise.Refused, match=r"train.batch_size 700: train.batch_size=50 fits the 50 MiB"):
        poise.train(CHAIN, **training(), out=tmp_path / "net" if saved else None)
    monkeypatch.setattr(memory, "available_bytes", lambda place: 2**40)
    with pytest.raises(poise.Refused, match=r"use a smaller train\.batch_size"):
        poise.train(CHAIN, **training(), out=tmp_path / "other" if saved else None)


def test_memory_that_runs_out_anywhere_else_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "run", failing(RuntimeError("DefaultCPUAllocator: can't allocate memory")))
    with pytest.raises(SystemExit) as stopped:
        main(["search", "--data", "digits"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("poise: out of memory; use a smaller batch")
    monkeypatch.setattr(search, "run", failing(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["search", "--data", "digits"])


@pytest.mark.parametrize("option", [[], ["--auto-batch"]])
def test_the_command_line_passes_it_on(option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    (tmp_path / "genotype.json").write_text(CHAIN.to_json())
    monkeypatch.chdir(tmp_path)

    def work(*arguments: object, **named: Any) -> None:
        given.update(named)
        given.update({"auto_batch": each.auto_batch} if isinstance(each := arguments[-1], RunContext) else {})
        raise poise.Refused("enough")

    for module, name, command in ((search, "run", "search"), (retrain, "train", "train genotype.json")):
        monkeypatch.setattr(module, name, work)
        with pytest.raises(SystemExit):
            main([*command.split(), *option])
        assert given.pop("auto_batch") is bool(option)


@pytest.mark.parametrize("text", ["shapes differ", "could not create a primitive descriptor for a convolution"])
def test_other_errors_are_not_taken_for_it(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "search_in_stages", failing(RuntimeError(text)))
    with pytest.raises(RuntimeError, match=text):
        search.run(settings(), RunContext(tmp_path / "run"))
