"""The Python interface: what a search, a selection and a retraining promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import poise
from full import FULL
from poise.config.resolve import resolve
from poise.data import Images, open_source
from poise.engine.events import EpochEnded, Event, Noted
from poise.errors import Refused
from poise.workflow.prepare import Preparation
from poise.workflow.retrain import source_of
from poise.workflow.search import choose

TINY: dict[str, Any] = {"search.epochs": 2, "search.images_per_half": 64, "search.batch_size": 32}
SMALL_NET = {"train.channels": 2, "train.cells": 3, "train.epochs": 1, "train.drop_path": 0.0}


class Guarded:
    """The digits, of whose test split nothing may be read."""

    def __init__(self) -> None:
        self._inner = open_source("digits")
        self.name = "guarded"
        self.names = self._inner.names
        self.asked: list[str] = []

    def has(self, split: str) -> bool:
        return True

    def labels(self, split: str) -> Tensor:
        self.asked.append(split)
        assert split == "train", "the test split was touched"
        return self._inner.labels(split)

    def load(self, split: str, indices: Tensor | None = None, size: int | None = None) -> Images:
        self.asked.append(split)
        assert split == "train", "the test split was touched"
        return self._inner.load(split, indices, size)


def tiny(**given: Any) -> poise.SearchResult:
    given = {"space": poise.spaces.darts(channels=2, cells=3), "method": "darts", "preset": "demo"} | given
    data = given.pop("data", "digits")
    return poise.search(data, settings=TINY | given.pop("settings", {}), **given)


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_same_seed_same_run_to_the_last_bit() -> None:
    method = replace(poise.methods.sdarts_adv(), relaxation=poise.methods.Sigmoid())
    space = poise.spaces.s4(channels=2, cells=3)  # with noise among its candidates
    first, again = (tiny(space=space, method=method, seed=3) for _ in range(2))
    assert equal(dict(first.alphas), dict(again.alphas))
    assert equal(first.supernet.state_dict(), again.supernet.state_dict())
    assert first.genotype == again.genotype
    strip = [{k: v for k, v in record.items() if k != "seconds"} for record in first.history]
    assert strip == [{k: v for k, v in record.items() if k != "seconds"} for record in again.history]
    other = tiny(space=space, method=method, seed=4)
    assert not equal(dict(first.alphas), dict(other.alphas))


def test_a_run_leaves_torch_s_own_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny()
    assert torch.equal(torch.rand(3), expected)


def test_search_and_selection_never_touch_the_test_split() -> None:
    source = Guarded()
    rule = poise.selection.PerturbationRule(tune_epochs=0)
    space = poise.spaces.nasbench201(channels=2, cells=1)
    tiny(data=source, space=space, method=replace(poise.methods.darts_pt(), selection=rule))
    assert set(source.asked) == {"train"}


@pytest.mark.parametrize("rule", ["magnitude", "threshold", "perturbation"])
def test_selecting_from_the_folder_is_selecting_in_the_search(tmp_path: Path, rule: str) -> None:
    settings: dict[str, Any] = {"selection": rule}
    if rule == "perturbation":
        settings["selection.tune_epochs"] = 1
    else:
        settings["relaxation"] = "sigmoid"
    given: dict[str, Any] = {"space": poise.spaces.nasbench201(channels=2, cells=1), "settings": settings}
    found = tiny(out=tmp_path / "run", **given)
    before = (tmp_path / "run" / "supernet.safetensors").read_bytes()
    again = poise.select(tmp_path / "run")
    assert again.genotype == found.genotype
    assert (tmp_path / "run" / "supernet.safetensors").read_bytes() == before


def test_tuning_from_the_folder_is_tuning_in_the_search(tmp_path: Path) -> None:
    """Bit by bit: the folder also holds what the alphas' Adam remembers."""
    run = tmp_path / "run"
    space = poise.spaces.nasbench201(channels=2, cells=1)

    def tuned(events: list[Event]) -> list[dict[str, Any]]:
        records = [e.record for e in events if isinstance(e, EpochEnded) and e.stage == "tune"]
        return [{name: value for name, value in record.items() if name != "seconds"} for record in records]

    heard: list[list[Event]] = [[], [], []]
    tiny(method="darts-pt", space=space, settings={"selection.tune_epochs": 1}, out=run, listen=heard[0].append)
    poise.select(run, listen=heard[1].append)
    (run / "adam.safetensors").unlink()  # as an earlier poise left it
    poise.select(run, listen=heard[2].append)
    first, again, afresh = map(tuned, heard)
    assert len(first) == 5
    assert again == first
    assert afresh[0]["alphas"] != first[0]["alphas"], "an Adam that begins anew moves otherwise"


def test_tuning_leaves_the_result_s_supernet_as_the_search_left_it() -> None:
    given: dict[str, Any] = {"space": poise.spaces.nasbench201(channels=2, cells=1)}
    plain = tiny(**given)
    tuned = tiny(method="darts-pt", settings={"selection.tune_epochs": 1}, **given)
    assert equal(plain.supernet.state_dict(), tuned.supernet.state_dict())
    assert equal(dict(plain.alphas), dict(tuned.alphas))


def test_perturbation_selects_on_supernets_of_any_method(tmp_path: Path) -> None:
    for name in ("fair-darts", "sdarts-rs", "lambda-darts", "blank-pt") if FULL else ("fair-darts", "blank-pt"):
        space = poise.spaces.nasbench201(channels=2, cells=1)
        settings = {"search.epochs": 1} | ({"selection.tune_epochs": 0} if name == "blank-pt" else {})
        tiny(method=name, space=space, settings=settings, out=tmp_path / name)
        selected = poise.select(tmp_path / name, "perturbation", settings={"selection.tune_epochs": 0})
        space.check(selected.genotype)


def test_what_a_threshold_leaves_empty_is_said() -> None:
    heard: list[Event] = []
    tiny(method="fair-darts", listen=heard.append)
    notes = [event.message for event in heard if isinstance(event, Noted)]
    assert sum("threshold 0.85" in note for note in notes) == 1


def test_events_tell_every_epoch_once() -> None:
    heard: list[Event] = []
    found = tiny(listen=heard.append)
    records = [event.record for event in heard if isinstance(event, EpochEnded)]
    assert [record["epoch"] for record in records] == [0, 1]
    assert records == list(found.history)


class Net(nn.Module):
    """A network of the user's own that is no cell."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            poise.Choice({"relu": nn.ReLU(), "dead": Dead()}, group="activation"),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            poise.Choice({"relu": nn.ReLU(), "dead": Dead()}, group="activation"),
        )
        self.head = poise.Choice([nn.Linear(128, 10), nn.Sequential(nn.Linear(128, 4), nn.ReLU(), nn.Linear(4, 10))])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


class Dead(nn.Module):
    """Lets nothing through."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


def test_a_module_of_your_own_is_searched() -> None:
    module = Net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = poise.search(
        module, "digits", method="darts", preset="demo",
        settings={"search.epochs": 3, "search.alphas.learning_rate": 0.1},
    )  # fmt: skip
    assert equal(before, module.state_dict())
    assert found.genotype.choices["activation"]["choice"] == ("relu",)
    made = found.module
    assert not [layer for layer in made.modules() if isinstance(layer, poise.Choice)]
    assert isinstance(made.features[2], nn.ReLU)
    assert isinstance(made.features[5], nn.ReLU)
    trained = poise.train(found, settings={"train.epochs": 2, "train.auxiliary": 0.0})
    assert trained.result["test_accuracy"] > 0.5


def test_retraining_is_deterministic_and_measures_the_test_split() -> None:
    found = tiny()
    first, again = (poise.train(found, settings=SMALL_NET) for _ in range(2))
    assert equal(first.network.state_dict(), again.network.state_dict())
    measured = poise.evaluate(first, "digits")
    assert measured["accuracy"] == pytest.approx(first.result["test_accuracy"])
    images = open_source("digits").load("test")
    logits = first.complete(images.pixels.float() / 255)
    assert float((logits.argmax(dim=1) == images.labels).float().mean()) == pytest.approx(measured["accuracy"])


def test_a_saved_network_is_the_network(tmp_path: Path) -> None:
    trained = poise.train(tiny(), settings=SMALL_NET | {"train.auxiliary": 0.4}, out=tmp_path / "net")
    loaded = poise.load_network(tmp_path / "net")
    assert equal(trained.network.state_dict(), loaded.network.state_dict())
    assert (loaded.genotype, loaded.names, loaded.shape) == (trained.genotype, trained.names, trained.shape)
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():  # the memory layout may differ, and with it the order of sums
        assert torch.allclose(trained.complete(images), loaded.complete(images), atol=1e-5)


def test_a_test_split_that_cannot_be_read_is_refused_before_the_training(tmp_path: Path) -> None:
    class Broken(Guarded):
        def labels(self, split: str) -> Tensor:
            return self._inner.labels(split)

        def load(self, split: str, indices: Tensor | None = None, size: int | None = None) -> Images:
            if split == "test":
                raise poise.Refused("the disk is gone")
            return self._inner.load(split, indices, size)

    found = tiny()
    with pytest.raises(poise.Refused, match="the disk is gone"):
        poise.train(found, Broken(), settings=SMALL_NET, out=tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_measurement_that_fails_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise poise.Refused("the device is gone")

    found = tiny()
    with monkeypatch.context() as patch:
        patch.setattr("poise.tasks.trained.evaluate", fails)
        with pytest.raises(poise.Refused, match="the device is gone"):
            poise.train(found, settings=SMALL_NET, out=tmp_path / "net")
    saved = poise.load_network(tmp_path / "net")
    assert saved.result == {}
    assert poise.evaluate(saved, "digits") == poise.evaluate(poise.train(found, settings=SMALL_NET), "digits")


def test_any_torch_dataset_is_data() -> None:
    labels = [index % 2 for index in range(160)]
    dataset = torch.utils.data.TensorDataset(torch.rand(160, 3, 8, 8), torch.tensor(labels))
    found = tiny(data=dataset)
    assert found.supernet.classifier.out_features == 2  # type: ignore[union-attr]
    with pytest.raises(poise.Refused, match="data from Python"):
        poise.train(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: poise.search(nn.Linear(1, 1), "digits"), "holds no poise.Choice"),
        (lambda: poise.search(Net(), "digits", space="darts"), "call poise.search"),
        (lambda: poise.search("digits", "digits"), "takes one data argument"),
        (lambda: poise.search("digits", settings={"search.epoch": 1}), "did you mean 'search.epochs'"),
        (lambda: poise.train("nowhere.json", "digits"), "nowhere.json"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(poise.Refused, match=message):
        call()


def test_double_precision_and_bfloat16_run() -> None:
    assert next(iter(tiny(precision="64").alphas.values())).dtype == torch.float64
    mixed = tiny(precision="bf16-mixed")
    assert next(iter(mixed.alphas.values())).dtype == torch.float32
    assert all(torch.isfinite(values).all() for values in mixed.alphas.values())


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_an_accelerator_finds_what_the_processor_finds() -> None:
    here, there = tiny(device="cpu"), tiny(device="auto")
    for name, values in here.alphas.items():
        assert torch.allclose(values, there.alphas[name], atol=1e-3)


def test_what_is_left_out_or_seen_twice_is_said(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for split, first in (("train", 0), ("test", 20)):
        for index in range(first, first + 20 + (3 if split == "train" else 0)):
            folder = tmp_path / "data" / split / "ab"[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[index].permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
    for split in ("train", "test"):
        (tmp_path / "data" / split / "a" / "broken.png").write_bytes(b"no image")
    notes: list[str] = []

    def listen(event: object) -> None:
        notes.append(getattr(event, "message", ""))

    settings = SMALL_NET | {"train.batch_size": 8, "data.skip_bad_images": True}
    genotype = tiny().genotype
    poise.train(genotype, tmp_path / "data", settings=settings, out=tmp_path / "run", listen=listen)
    assert any("3 of 20 test images are also in the training split" in note for note in notes)
    assert any("2 images could not be read" in note and "broken.png" in note for note in notes)
    notes.clear()
    assert source_of(tmp_path / "run") == str(tmp_path / "data"), "where poise evaluate finds it"
    measured = poise.evaluate(tmp_path / "run", tmp_path / "data", listen=listen)
    assert measured["accuracy"] * 20 == pytest.approx(round(measured["accuracy"] * 20)), "of 20 images"
    assert any("could not be read" in note and "broken.png" in note for note in notes), "left out, as in the training"
    with pytest.raises(Refused, match=r"cannot read image .*broken\.png"):
        poise.evaluate(tmp_path / "run", tmp_path / "data", skip_bad_images=False)


def test_a_selection_says_that_no_path_leads_through_its_cell() -> None:
    prepared = Preparation.of(resolve(space="nasbench201", method="darts", preset="demo", data="digits"))
    (group,) = prepared.groups
    for favourite, said in ((group.rows[0].candidates.index("none"), 1), (3, 0)):
        alphas = torch.zeros(group.shape)
        alphas[:, favourite] = 1
        heard: list[Any] = []
        choose(prepared, {"cell": alphas}, None, heard.append)
        assert [note.message.startswith("no path leads through the cell") for note in heard] == [True] * said
