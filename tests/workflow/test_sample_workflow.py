"""Modules of your own on data that is no images: rows, sound and tokens, from search to evaluation and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from sample_modules import Audio, Tabular, Transformer, audio, tabular, tokens
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.data import TensorDataset

import poise
from poise.data import open_data
from poise.data.standard import Standard
from poise.engine.checkpointer import RunControl
from poise.engine.run import RunFolder
from poise.genotype import Genotype
from poise.spaces.space import kept_of
from poise.supernet.groups import one_hot
from poise.supernet.trees import called
from poise.workflow.plan import dry_run

SETTINGS: dict[str, Any] = {
    "search.epochs": 6,
    "search.batch_size": 32,
    "search.weights.learning_rate": 0.1,
    "search.alphas.learning_rate": 0.03,
    "train.epochs": 6,
    "train.batch_size": 32,
    "train.weights.learning_rate": 0.1,
}
SHORT = SETTINGS | {"search.epochs": 2, "train.epochs": 2}
PROBLEMS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any], dict[str, str]]] = {
    "tabular": (Tabular, tabular, {"act": "relu"}),
    "audio": (Audio, audio, {"layer": "k9"}),
    "transformer": (Transformer, tokens, {}),
}


def search(name: str, settings: dict[str, Any] = SHORT, **given: Any) -> poise.SearchResult:
    make, data, _ = PROBLEMS[name]
    torch.manual_seed(0)
    return poise.search(make(), data(), method="darts", preset="demo", settings=settings, **given)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_search_finds_what_the_problem_needs_and_the_network_solves_it(name: str, tmp_path: Path) -> None:
    make, data, answer = PROBLEMS[name]
    found = search(name, SETTINGS, out=tmp_path / "run")
    for alphas in found.alphas.values():
        assert (alphas - alphas.mean()).abs().max() > 0.05, "the alphas never moved"
    for group, candidate in answer.items():
        assert found.genotype.choices[group]["choice"] == (candidate,)
    trained = poise.train(found, data(), out=tmp_path / "net")
    assert trained.result["test_accuracy"] > 0.85
    again = poise.load_network(tmp_path / "net", module=make())
    measured = poise.evaluate(tmp_path / "net", data(), module=make())
    assert measured["accuracy"] == trained.result["test_accuracy"]
    assert measured["loss"] == pytest.approx(trained.result["test_loss"], rel=1e-6)
    inputs, _ = data()
    given = (torch.as_tensor(inputs),) if name == "tabular" else (inputs,)
    with torch.no_grad():
        one, other = ([m.complete(*given) if name != "transformer" else m.complete(**inputs)] for m in (trained, again))
    assert torch.equal(one[0], other[0])
    assert one[0].argmax(1).float().std() > 0.1, "a constant network would prove nothing"
    assert json.loads((tmp_path / "net" / "network.json").read_text())["inputs"]["shape"] == trained.shape.facts
    assert "image" not in repr(trained) + repr(found)


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_discrete_network_is_its_one_hot_supernet_to_the_last_bit(name: str) -> None:
    make, data, _ = PROBLEMS[name]
    torch.manual_seed(0)
    space = poise.spaces.ModuleSpace(make())
    source = open_data(data())
    samples: Any = source.load("train", torch.arange(6))
    shape = samples.shape(2)
    inputs = Standard.of(samples.inputs)(samples.inputs, torch.float32)
    for index in range(2):
        choices = {group.name: {"choice": (group.rows[0].candidates[index],)} for group in space.groups}
        genotype = Genotype("custom", choices)
        mixture = one_hot(kept_of(genotype, space.groups), space.groups)
        supernet, network = space.supernet(shape).eval(), space.network(genotype, shape).eval()
        with torch.no_grad():
            assert torch.equal(supernet(inputs, mixture), called(network, inputs))


def stopped(work: Callable[[RunControl], Any]) -> Any:
    """The result of work that is stopped at its fourth step, then its seventh, and so on."""
    for steps in range(4, 1000, 3):
        left = steps

        def asked() -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        try:
            return work(RunControl(every=1e9, asked=asked))
        except poise.Stopped:
            continue
    raise AssertionError("it never ends")


def same(one: Path, other: Path) -> None:
    for file in one.glob("*.safetensors"):
        found, expected = load_file(other / file.name), load_file(file)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items()), file.name
    histories = [[{**record, "seconds": 0} for record in RunFolder(run).history()] for run in (one, other)]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("name", PROBLEMS)
def test_runs_that_are_stopped_end_as_if_they_had_not_been(name: str, tmp_path: Path) -> None:
    make, data, _ = PROBLEMS[name]
    settings = SHORT | {"selection": "perturbation", "selection.tune_epochs": 1}
    found = search(name, settings, out=tmp_path / "whole")
    stopped(lambda control: search(name, settings, out=tmp_path / "stopped", resume=True, control=control))
    same(tmp_path / "whole", tmp_path / "stopped")
    torch.manual_seed(0)
    module = make()
    poise.train(found, data(), out=tmp_path / "net")
    stopped(
        lambda control: poise.train(
            tmp_path / "whole", data(), module=module, out=tmp_path / "again", resume=True, control=control
        )
    )
    same(tmp_path / "net", tmp_path / "again")


def test_a_saved_run_is_selected_from_diagnosed_and_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    search("transformer", out=run)
    make, data, _ = PROBLEMS["transformer"]
    selected = poise.select(run, "perturbation", data=data(), module=make(), settings={"selection.tune_epochs": 1})
    assert set(selected.genotype.choices) == {"attention", "mlp"}
    assert f"attention={selected.genotype.choices['attention']['choice'][0]}, mlp=" in repr(selected)
    numbers = poise.diagnose(run, ["discretisation", "eigenvalue"], data=data(), module=make()).numbers
    assert numbers
    resumed = poise.resume(run, data=data(), module=make())
    assert resumed.genotype == selected.genotype


@pytest.mark.parametrize("method", ["darts-2nd", "sdarts-adv", "poise", "fair-darts"])
def test_every_kind_of_step_takes_several_inputs(method: str) -> None:
    make, data, _ = PROBLEMS["transformer"]
    found = poise.search(make(), data(), method=method, preset="demo", settings=SHORT)
    assert set(found.genotype.choices) == {"attention", "mlp"}


def test_costs_of_a_module_on_samples(tmp_path: Path) -> None:
    make, data, _ = PROBLEMS["transformer"]
    free = search("transformer", out=tmp_path / "run")
    macs = poise.train(free, data()).result["macs"]
    assert macs > 0
    aimed = poise.search(
        make(), data(), method="darts", preset="demo", settings=SHORT, cost_target=poise.CostTarget("macs", 9000)
    )
    assert aimed.cost is not None
    assert aimed.cost["true"] < macs
    table = tmp_path / "table.json"
    poise.measure_latency(make(), data(), rounds=1, out=table)
    target = poise.CostTarget("latency", 0.5, table=str(table))
    with pytest.raises(poise.Refused, match="no network here costs"):
        poise.search(make(), data(), method="darts", preset="demo", settings=SHORT, cost_target=target)


def test_a_batch_that_fits_is_picked_and_a_search_is_planned() -> None:
    found = search("audio", auto_batch=True)
    assert found.settings.search.batch_size == 32
    plan = dry_run(found.settings, data=audio(), steps=1)
    assert (plan.training_images, plan.unit) == (160, "rows")


def test_a_dict_in_another_order_is_measured_alike() -> None:
    inputs, labels = tokens()
    net = poise.train(search("transformer"), (inputs, labels))
    turned = {"mask": inputs["mask"], "tokens": inputs["tokens"]}
    assert poise.evaluate(net, (turned, labels)) == poise.evaluate(net, (inputs, labels))


def test_standardising_can_be_turned_off(tmp_path: Path) -> None:
    rows, labels = tabular()
    wide = (rows * 1000, labels)
    net = poise.train(
        poise.search(Tabular(), wide, method="darts", preset="demo", settings=SHORT | {"data.standardise": False}),
        wide,
        out=tmp_path / "net",
    )
    assert net.inputs.standard.mean == ((),)
    again = poise.load_network(tmp_path / "net", module=Tabular())
    x = torch.as_tensor(rows[:4])
    assert torch.equal(again.complete(x), again.network(x.float()))
    with pytest.raises(poise.Refused, match=r"data\.standardise=false is for samples; images are always normalised"):
        poise.search("digits", space="nasbench201", preset="demo", settings={"data.standardise": False})


def test_the_complete_network_takes_samples_as_they_come() -> None:
    rows, labels = tabular()
    net = poise.train(search("tabular"), (rows, labels))
    x = torch.as_tensor(rows)
    standardised = net.inputs.standard(x, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(net.complete(x), net.network(standardised), atol=1e-5, rtol=1e-5)


def test_test_rows_that_were_trained_on_are_noted() -> None:
    x, y = audio()
    heard: list[str] = []
    result = search("audio")
    poise.train(result, ((x, y), (x[:50], y[:50])), listen=lambda e: heard.append(getattr(e, "message", "")))
    assert any("50 of 50 test rows are also in the training split" in text for text in heard)


def test_what_does_not_fit_is_refused_in_the_words_of_the_data(tmp_path: Path) -> None:
    rows, labels = tabular()
    given: dict[str, Any] = {"method": "darts", "preset": "demo"}
    cases: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: poise.search((rows, labels), space="darts", preset="demo"),
            "space 'darts' is for images, but arrays is rows of 6 numbers; a module of your own takes them",
        ),
        (
            lambda: poise.search(Tabular(), (rows, labels), settings=SHORT | {"search.batch_size": 200}, **given),
            "the training half has 160 rows, fewer than search.batch_size 200",
        ),
        (
            lambda: poise.search(Tabular(5), (rows, labels), settings=SHORT, **given),
            r"Tabular cannot run on inputs \[2, 6\] float32 in training: 'first' \(Linear\) fails on",
        ),
        (
            lambda: poise.search(Tabular(classes=3), (rows, labels), settings=SHORT, **given),
            r"Tabular puts out \[2, 3\] float32 in training, expected .*\[2, 2\]",
        ),
        (
            lambda: poise.search(Tabular(), (rows, labels), settings=SHORT | {"search.batch_size": 1}, **given),
            "search.batch_size is 1, but batch normalisation takes the statistics of more than one",
        ),
        (
            lambda: poise.search(Tabular(), (rows, labels), settings=SHORT | {"train.cutout": 4}, **given),
            "train.cutout is for ima.es, and arrays is rows of 6 numbers",
        ),
        (
            lambda: poise.search(Tabular(), (rows, labels), settings=SHORT | {"data.size": 8}, **given),
            "data.size is for ima.es, and arrays is rows of 6 numbers",
        ),
    ]
    for work, message in cases:
        with pytest.raises(poise.Refused, match=message) as refused:
            work()
        assert "\n" not in str(refused.value)
        if "is for images" not in str(refused.value):
            assert "image" not in str(refused.value)


def test_a_network_refuses_other_data_than_it_was_trained_for() -> None:
    rows, labels = tabular()
    net = poise.train(search("tabular"), (rows, labels))
    for data, message in (
        ((rows[:, :5], labels), "the network takes 6 numbers; arrays is rows of 5 numbers"),
        ((rows, labels + 1), "trained for 2 classes"),
        (TensorDataset(torch.as_tensor(rows), torch.as_tensor(labels)), "no test split"),
        ("digits", "the network takes 6 numbers, and digits holds images"),
    ):
        with pytest.raises(poise.Refused, match=message):
            poise.evaluate(net, data)


def test_datasets_of_items_are_searched_and_trained_on() -> None:
    inputs, labels = tokens()
    items = [({name: values[i] for name, values in inputs.items()}, int(labels[i])) for i in range(len(labels))]
    train, test = items[:300], items[300:]

    class Items(torch.utils.data.Dataset[Any]):
        classes = ("without", "with")

        def __init__(self, items: list[Any]) -> None:
            self.items = items

        def __len__(self) -> int:
            return len(self.items)

        def __getitem__(self, index: int) -> Any:
            return self.items[index]

    data = (Items(train), Items(test))
    net = poise.train(poise.search(Transformer(), data, method="darts", preset="demo", settings=SHORT), data)
    assert net.names == ("without", "with")
    assert poise.evaluate(net, data)["accuracy"] == net.result["test_accuracy"]


def test_half_a_run_can_be_copied_and_gone_on_with_other_data_is_noted(tmp_path: Path) -> None:
    left = 3

    def asked() -> bool:
        nonlocal left
        left -= 1
        return left <= 0

    with pytest.raises(poise.Stopped):
        search("audio", out=tmp_path / "run", control=RunControl(every=1e9, asked=asked))
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    heard: list[str] = []
    poise.resume(
        tmp_path / "copy", data=audio(seed=1), module=Audio(), listen=lambda e: heard.append(getattr(e, "message", ""))
    )
    assert any("the data is not the same as when" in text for text in heard)


def test_predictions_of_new_rows_one_after_the_other() -> None:
    rows, labels = tabular()
    net = poise.train(search("tabular"), (rows, labels))
    few = rows[:5].copy()
    few[3, 2] = float("nan")
    found = list(poise.predict(net, few, batch_size=2))
    assert [one.name for one in found] == [f"row {i}" for i in range(5)]
    assert found[3].error == "row 3 holds a value that is not finite (NaN or infinity)"
    with torch.no_grad():
        expected = net.complete(torch.as_tensor(rows[:5])).softmax(1)
    for index in (0, 1, 2, 4):
        assert found[index]["probability"] == pytest.approx(float(expected[index].max()), abs=1e-5)
        assert found[index]["class"] == str(int(expected[index].argmax()))
    with pytest.raises(poise.Refused, match="the network takes 6 numbers, got rows of 5 numbers"):
        next(poise.predict(net, rows[:, :5]))


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_exported_network_takes_samples_as_they_come(name: str, tmp_path: Path) -> None:
    _, data, _ = PROBLEMS[name]
    net: Any = poise.train(search(name, SHORT | {"search.epochs": 1, "train.epochs": 1}), data())
    inputs, _ = data()
    given = tree_map(lambda values: torch.as_tensor(values)[:7], inputs)
    with torch.no_grad():
        expected = called(net.complete, given)
    (file,) = poise.export(net, "onnx", tmp_path / "net")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == (["tokens", "mask"] if name == "transformer" else ["input"])
    feed = {
        each.name: (given[each.name] if name == "transformer" else given.float()).numpy()
        for each in session.get_inputs()
    }
    found = torch.from_numpy(session.run(["outputs"], feed)[0])
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 1e-3
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"])["names"] == ["0", "1"]
    assert json.loads(about["input"])["outputs"] == 2
    ours, theirs = (list(poise.predict(what, inputs)) for what in (net, file))
    assert len(ours) == len(theirs) > 7
    for one, other in zip(ours, theirs, strict=True):
        assert (one.name, one["class"]) == (other.name, other["class"])
        assert other["probabilities"] == pytest.approx(one["probabilities"], abs=1e-5)
    (weights,) = poise.export(net, "safetensors", tmp_path / "net")
    assert load_file(weights).keys() == net.complete.state_dict().keys()
    with pytest.raises(poise.Refused, match="you have its source"):
        poise.export(net, "python", tmp_path / "net")
