"""A module of one's own aims at a cost: from its candidates to the retrained network."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import poise
from poise.costs.counting import cost_of, count
from poise.costs.latency import read_table
from poise.engine.events import Noted
from poise.engine.run import RunFolder
from poise.spaces import ImageShape, ModuleSpace

TASK = ImageShape(1, (8, 8), 10)
SETTINGS: dict[str, Any] = {
    "search.epochs": 2,
    "search.images_per_half": 60,
    "search.batch_size": 20,
    "search.alphas.learning_rate": 0.1,
    "train.epochs": 1,
    "train.batch_size": 400,
}


class Own(nn.Module):
    """Six convolutions of a kernel to be found, and one that mixes the pixels, or not."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 1)
        kernels = (1, 3, 5)
        self.layers = nn.Sequential(
            *[poise.Choice({f"k{k}": nn.Conv2d(width, width, k, padding=k // 2) for k in kernels}) for _ in range(6)]
        )
        self.mix = poise.Choice({"pixels": Pixels(), "not": nn.Identity()})
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.mix(torch.relu(self.layers(self.stem(images)))).mean(dim=(2, 3)))


class Pixels(nn.Module):
    """Attention without weights: only products."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2)
        return (pixels @ (pixels.mT @ pixels).softmax(dim=-1)).reshape(x.shape)


def search(module: nn.Module, target: poise.CostTarget, **more: Any) -> poise.SearchResult:
    options: dict[str, Any] = {"settings": SETTINGS, "method": "darts", "preset": "demo", "seed": 1, **more}
    return poise.search(module, "digits", cost_target=target, **options)


def middle(module: nn.Module, metric: str) -> poise.CostTarget:
    return poise.CostTarget(metric, sum(count(ModuleSpace(module), TASK, metric).range()) / 2)


@pytest.mark.parametrize("metric", ["macs", "parameters"])
def test_a_search_ends_within_a_tenth_of_its_target(metric: str, tmp_path: Path) -> None:
    module, notes = Own(), list[str]()
    target = middle(module, metric)
    found = search(module, target, out=tmp_path / "run", listen=lambda e: notes.append(getattr(e, "message", "")))
    assert found.cost == RunFolder(tmp_path / "run").read_json("cost.json")
    assert found.cost is not None
    true = {name: cost_of(found.space, found.genotype, TASK, name) for name in ("macs", "parameters")}
    assert found.cost["true"] == found.cost["summed"] == found.cost[metric] == true[metric]
    assert 0.9 * target.value <= true[metric] <= target.value
    assert true["parameters"] == sum(weight.numel() for weight in found.module.parameters())
    assert any(note.startswith(f"{metric} of the network") for note in notes)
    relaxed = {name: values.double().softmax(dim=1) for name, values in found.alphas.items()}
    expected = float(count(found.space, TASK, metric).expected(relaxed))
    assert found.cost["expected"] == pytest.approx(expected, rel=1e-6)
    assert found.history[-1]["expected_cost"][metric] == pytest.approx(expected, rel=1e-4)
    trained = poise.train(found, "digits")
    assert (trained.result["macs"], trained.result["parameters"]) == (true["macs"], true["parameters"])


def test_what_cannot_be_met_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    tied = Own()
    tied.layers[1] = poise.Choice(dict(tied.layers[0].candidates.items()))
    few, fixed = Own(), Own()
    few.head = nn.Sequential(nn.Linear(4, 10), Batched())
    fixed.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 64, 10))
    table = tmp_path / "table.json"
    poise.measure_latency(Own(8), TASK, rounds=1, device="cpu", out=table)
    for module, target, message in (
        (Own(), poise.CostTarget("macs", 1.0), "no network here costs 1 .*the cheapest has"),
        (tied, poise.CostTarget("parameters", 1000), "'layers.1.candidates.k1' shares weights with 'layers.0.cand"),
        (few, poise.CostTarget("macs", 1e5), "costs are those of one image, here of 1×8×8, but Own fails on it"),
        (Own(), poise.CostTarget("latency", 1.0, str(table)), "the latency table is about custom .*measure it again"),
    ):
        with pytest.raises(poise.Refused, match=message):
            search(module, target, out=tmp_path / "run")
    for size in ("train.channels", "train.cells"):
        with pytest.raises(poise.Refused, match="a module of your own has its own size"):
            search(Own(), middle(Own(), "macs"), settings=SETTINGS | {size: 4}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Batched(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise ValueError("several, please")
        return x


def test_a_module_that_takes_no_single_image_is_trained_without_its_multiply_adds() -> None:
    module = Own()
    module.head = nn.Sequential(nn.Linear(4, 10), Batched())
    found = poise.search(module, "digits", settings=SETTINGS, method="darts", preset="demo")
    assert found.cost is None
    assert "macs" not in poise.train(found, "digits").result


def test_latency(tmp_path: Path) -> None:
    module, file, notes = Own(), tmp_path / "latency.json", list[str]()
    table = poise.measure_latency(
        module, "digits", rounds=3, device="cpu", out=file,
        listen=lambda event: notes.append(event.message) if isinstance(event, Noted) else None,
    )  # fmt: skip
    assert read_table(file) == table
    assert (table.form.image, table.form.classes) == ((1, 8, 8), 10)
    assert len(notes) == 1
    assert table.form == poise.measure_latency(module, TASK, rounds=1, device="cpu").form
    with pytest.raises(poise.Refused, match="exists; choose another file"):
        poise.measure_latency(module, TASK, rounds=1, out=file)
    low, high = table.costs(ModuleSpace(module), TASK, None, None).range()
    target = poise.CostTarget("latency", (low + high) / 2, str(file))
    found = search(module, target, out=tmp_path / "run", device="cpu")
    assert found.cost is not None
    kept = {name: ((row.candidates.index(found.genotype.choices[name]["choice"][0]),),)
            for name, row in ((group.name, group.rows[0]) for group in found.groups)}  # fmt: skip
    assert found.cost["summed"] == pytest.approx(table.costs(found.space, TASK, None, None).of(kept))
    assert found.cost["true"] > 0
    assert found.cost["macs"] == cost_of(found.space, found.genotype, TASK, "macs")


def test_spaces_are_measured_the_same_way() -> None:
    sizes = {"train.channels": 2, "train.cells": 1}
    table = poise.measure_latency("nasbench201", "digits", settings=sizes, rounds=1, device="cpu")
    assert (table.form.space, table.form.channels, table.form.cells) == ("nasbench201", 2, 1)
    assert (
        table.form
        == poise.measure_latency(
            poise.spaces.SPACES["nasbench201"](), TASK, settings=sizes, rounds=1, device="cpu"
        ).form
    )
    with pytest.raises(poise.Refused, match="space 'recurrent' cannot say what its networks cost"):
        poise.measure_latency("recurrent", TASK)
    with pytest.raises(poise.Refused, match="at least 1 round, got 0"):
        poise.measure_latency(Own(), TASK, rounds=0)
    with pytest.raises(poise.Refused, match=r"Linear holds no poise\.Choice layer"):
        poise.measure_latency(nn.Linear(2, 2), TASK)
    wrong: list[Any] = [Own, ModuleSpace, 3, None]
    for target in wrong:
        with pytest.raises(poise.Refused, match=r"latency is measured of a module with poise\.Choice layers or"):
            poise.measure_latency(target, TASK)


def test_a_layer_called_auxiliary_is_part_of_the_network() -> None:
    kernels = {f"k{k}": nn.Conv2d(4, 4, k, padding=k // 2) for k in (1, 3)}
    layers = {"auxiliary": nn.Conv2d(1, 4, 1), "choice": poise.Choice(kernels), "flat": nn.Flatten()}
    module = nn.Sequential(OrderedDict(**layers, head=nn.Linear(4 * 64, 10)))
    found = poise.search(module, "digits", settings=SETTINGS, method="darts", preset="demo")
    trained = poise.train(found, "digits")
    own = sum(weight.numel() for weight in found.module.parameters())
    assert trained.result["parameters"] == trained.parameters == own
    assert trained.result["macs"] == cost_of(found.space, found.genotype, TASK, "macs")
