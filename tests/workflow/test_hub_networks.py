"""Networks on a stand-in of the Hub, by its own client: what is put there is what is loaded, and no more than that."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hub_standin import Standin, standin
from huggingface_hub import ModelCard
from own_module import Net as Own
from PIL import Image

import poise
from poise.cli.main import main
from poise.config.resolve import resolve
from poise.errors import Refused
from poise.report.model_card import escaped
from poise.workflow.hub import Reference, explained, fetched
from poise.workflow.push import scrubbed

SETTINGS: dict[str, Any] = {
    "space.channels": 2, "space.cells": 1, "search.epochs": 1, "search.images_per_half": 40, "search.batch_size": 20,
    "train.epochs": 1, "train.channels": 2, "train.cells": 1, "train.batch_size": 20,
}  # fmt: skip
SECRET = "acme-clients"
NAMES = ("cat | <b>x", "dog # `y`")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained on a file of somebody's."""
    folder = tmp_path_factory.mktemp(SECRET)
    draw = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 10)):
        for name in NAMES:
            (folder / "pets" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "pets" / split / name / f"{number}.png")
    found = poise.search(
        folder / "pets", space="nasbench201", method="darts", settings=SETTINGS, device="cpu", out=folder / "run",
        listen=poise.ignore,
    )  # fmt: skip
    poise.train(found, out=folder / "run" / "net", listen=poise.ignore)
    return folder / "run" / "net"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Standin]:
    with standin(monkeypatch, tmp_path / "cache") as found:
        yield found


def test_what_is_loaded_from_there_is_what_was_put_there(net: Path, hub: Standin) -> None:
    url = poise.push(net, "me/pets", licence="apache-2.0", message="first")
    assert url.startswith(f"{hub.url}/me/pets/commit/")
    there, here = poise.load_network("hf:me/pets"), poise.load_network(net)
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(there.complete(images), here.complete(images))
    assert (there.names, there.genotype, there.result) == (here.names, here.genotype, here.result)
    assert list(there.history) == list(here.history)
    assert there.folder is None, "nothing is written into a cache"
    assert hub.commits["me/pets"][0][0] == "first"


def test_only_what_is_needed_goes_there_and_nothing_of_the_machine(net: Path, hub: Standin) -> None:
    (net / "notes.txt").write_text("mine")
    poise.push(net, "me/pets", private=True)
    _, files = hub.commits["me/pets"][0]
    assert hub.private["me/pets"]
    assert set(files) == {
        "README.md", "cells.png", "config.yaml", "genotype.json", "history.jsonl", "network.json", "result.json",
        "network.safetensors", "run.json",
    }  # fmt: skip
    for name, content in files.items():
        for secret in (SECRET, str(net.parent), str(Path.home()) + "/", f"{net.parents[1]}/"):
            assert secret.encode() not in content, (name, secret)
    assert resolve(file=net / "config.yaml").search.epochs == 1
    config = yaml.safe_load(files["config.yaml"])
    assert config["data"]["source"] == "python"
    assert config["train"]["epochs"] == 1


def test_paths_are_taken_out_of_settings_wherever_they_stand() -> None:
    config = {
        "data": {"source": "/home/me/x", "split_file": "C:\\me\\split.json", "size": 32}, "seed": 1,
        "search": {"target": {"table": "~/latency.json", "metric": "latency"}, "diagnostics": ["a/b", "c"]},
    }  # fmt: skip
    assert scrubbed(config) == {
        "data": {"source": "python", "split_file": None, "size": 32}, "seed": 1,
        "search": {"target": {"table": None, "metric": "latency"}, "diagnostics": [None, "c"]},
    }  # fmt: skip
    for public in ("digits", "hf:owner/name", "python"):
        assert scrubbed({"data": {"source": public}}) == {"data": {"source": public}}


def test_the_card_says_what_the_network_is(net: Path, hub: Standin) -> None:
    poise.push(net, "me/pets", licence="apache-2.0")
    text = hub.commits["me/pets"][0][1]["README.md"].decode()
    data = ModelCard(text, ignore_metadata_errors=False).data
    network = poise.load_network(net)
    assert (data.library_name, data.license, data.pipeline_tag) == ("poise", "apache-2.0", "image-classification")
    assert {"neural-architecture-search", "nasbench201"} <= set(data.tags)
    measured = {each.metric_type: each.metric_value for each in data.eval_results}
    assert measured["accuracy"] == network.result["test_accuracy"]
    assert measured["balanced_accuracy"] == network.result["test_balanced_accuracy"]
    assert not [name for name in measured if "/" in name or "loss" in name]
    assert data.eval_results[0].dataset_name == "pets"
    assert f"{network.parameters:,} parameters" in text
    assert "arXiv:1806.09055" in text.replace("&#", "&#")
    assert poise.spaces.SPACES["nasbench201"]().describe(network.genotype) in text
    body = text.split("---", 2)[2]
    assert "<b>" not in body
    assert "\n# " not in body.replace("\n# pets\n", "", 1)
    assert escaped(NAMES[0]) in body

    poise.push(net, "me/unlicensed")
    unlicensed = hub.commits["me/unlicensed"][0][1]["README.md"].decode()
    assert ModelCard(unlicensed, ignore_metadata_errors=False).data.license is None
    assert "No licence was stated" in unlicensed
    assert "No licence was stated" not in text


def test_the_code_on_the_card_runs(net: Path, hub: Standin) -> None:
    poise.push(net, "me/pets")
    text = hub.commits["me/pets"][0][1]["README.md"].decode()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    assert names["outputs"].shape == (2, 2)


def test_the_command_line_takes_what_is_there(
    net: Path, hub: Standin, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "one.png")

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return int(ended.value.code or 0), *capsys.readouterr()

    assert run("push", net, "me/pets", "--license", "mit")[0] == 0
    code, out, err = run("predict", "hf:me/pets", "one.png")
    assert (code, run("predict", net, "one.png")[1]) == (0, out), err
    code, out, err = run("evaluate", "hf:me/pets", "--data", net.parents[1] / "pets")
    assert (code, run("evaluate", net)[1]) == (0, out), err
    assert run("evaluate", "hf:me/pets") == (
        2, "", "poise: hf:me/pets was trained elsewhere; say where data is with --data\n",
    )  # fmt: skip
    assert run("export", "hf:me/pets", "--to", "python", "--out", "exported")[0] == 0
    assert (tmp_path / "exported.py").is_file()
    assert "say where to export it to" in run("export", "hf:me/pets", "--to", "python")[2]


def test_a_revision_is_that_revision_and_a_cache_does_without_the_hub(
    net: Path, hub: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "net"
    shutil.copytree(net, changed)
    for folder in (net, changed):
        (changed / "result.json").write_text('{"test_accuracy": 0.25}')
        poise.push(folder, "me/pets")
    hub.tags["v1"] = 0
    assert poise.load_network("hf:me/pets").result == {"test_accuracy": 0.25}
    first = poise.load_network("hf:me/pets@v1")
    assert first.result == poise.load_network(net).result
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert poise.load_network("hf:me/pets@v1").result == first.result
    with pytest.raises(Refused, match=r"^the Hub cannot be reached, and hf:me/other was not downloaded before$"):
        poise.load_network("hf:me/other")


def test_a_network_of_a_module_of_your_own_is_loaded_with_it(
    hub: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = {"search.epochs": 1, "search.images_per_half": 40, "search.batch_size": 20, "train.epochs": 1}
    found = poise.search(Own(), "digits", preset="demo", settings=tiny, device="cpu", listen=poise.ignore)
    poise.train(found, out=tmp_path / "net", listen=poise.ignore)
    with pytest.raises(Refused, match=r"poise.push\('.*', ..., module=...\)"):
        poise.push(tmp_path / "net", "me/own")
    poise.push(tmp_path / "net", "me/own", module=Own())
    with pytest.raises(Refused, match="is of a module of your own"):
        poise.load_network("hf:me/own")
    there, images = poise.load_network("hf:me/own", module=Own()), torch.rand(2, 1, 8, 8)
    assert torch.equal(there.complete(images), poise.load_network(tmp_path / "net", module=Own()).complete(images))
    card = hub.commits["me/own"][0][1]["README.md"].decode()
    assert "module=module" in card
    assert "poise predict" not in card
    assert data_of(card)["datasets"] is None
    assert data_of(card)["eval_results"][0].dataset_name == "digits"


def data_of(card: str) -> dict[str, Any]:
    return vars(ModelCard(card, ignore_metadata_errors=False).data)


REFUSED = {
    "hf:name": r"'name' is not the name of a Hub repository, expected owner/name",
    "hf:../../etc": "is not the name of a Hub repository",
    "hf:me/pets@": "names no revision",
    "hf:me/pets@../x": "names no revision",
    "hf:me/nothing": r"^there is no hf:me/nothing on the Hub, or it is private and you are not logged in: hf",
    "hf:me/pets@v9": r"^hf:me/pets@v9: there is no such branch, tag or commit$",
    "hf:me/words": r"^hf:me/words is no network of poise: it holds no run.json$",
    "hf:me/bent": r"is damaged: not valid JSON$",
    "hf:me/forged": r"is damaged: ",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_loaded_is_refused_in_a_line(name: str, net: Path, hub: Standin) -> None:
    poise.push(net, "me/pets")
    whole = hub.commits["me/pets"][0][1]
    hub.commits["me/words"] = [("", {"pytorch_model.bin": b"x"})]
    hub.commits["me/bent"] = [("", whole | {"network.json": b"{"})]
    hub.commits["me/forged"] = [("", whole | {"network.safetensors": b"\x80\x04pickle"})]
    hub.private |= dict.fromkeys(hub.commits, False)
    with pytest.raises(Refused, match=REFUSED[name]):
        poise.load_network(name)
    assert not [asked for asked in hub.asked if ".bin" in asked]


def test_what_cannot_be_pushed_is_refused_in_a_line(
    net: Path, hub: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="'name' is not the name of a Hub repository, expected owner/name"):
        poise.push(net, "name")
    with pytest.raises(Refused, match="'My Licence!' is no licence of the Hub's"):
        poise.push(net, "me/pets", licence="My Licence!")
    with pytest.raises(Refused, match="expected a 'train'"):
        poise.push(net.parent, "me/pets")
    with pytest.raises(Refused, match=r"^the Hub does not let you use stranger/pets; log in as who may"):
        poise.push(net, "stranger/pets")
    assert hub.commits == {}
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(Refused, match=r"hf auth login$"):
        poise.push(net, "me/pets")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(Refused, match=r"^you are not logged in to the Hub: hf auth login, or set HF_TOKEN$"):
        poise.push(net, "me/pets")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: poise.push(net, "me/pets"), lambda: poise.load_network("hf:me/pets")):
        with pytest.raises(Refused, match=r"pip install 'poise\[hub\]'$"):
            call()


def test_a_hub_that_answers_badly_is_said_to(net: Path, hub: Standin) -> None:
    poise.push(net, "me/pets")
    hub.fails = 418
    with pytest.raises(Refused, match=r"^the Hub cannot be reached, and hf:me/pets was not downloaded before$"):
        poise.load_network("hf:me/pets")


def test_references() -> None:
    assert Reference.of("hf:a/b@refs/pr/1") == Reference("a/b", "refs/pr/1")
    with pytest.raises(Refused, match=r"^the Hub cannot be reached for x: no route$"), explained("x"):
        raise ConnectionError("no route")
    assert str(Reference.of("hf:a/b@main")) == "hf:a/b@main"
    with pytest.raises(Refused):
        fetched("hf:a/b/c")
