"""A run that was started with relative paths means the same files from every other folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

import poise as api
from conftest import TINY, Poise
from poise.config.reading import parse_override
from poise.config.resolve import resolve
from poise.engine.checkpointer import RunControl
from poise.engine.run import RunFolder

SEARCH = ("search", "--space=nasbench201", "--method=darts", *TINY, "--set=space.cells=1")
TRAIN = ("--channels=2", "--cells=1", "--epochs=1", "--set=train.batch_size=64")


@pytest.fixture
def here(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data, a split and a configuration, and beside it ``elsewhere``, with another file of the data's
    name."""
    here = tmp_path / "here"
    for folder in (here, tmp_path / "elsewhere"):
        folder.mkdir()
    images.rename(here / "images.npz")
    (tmp_path / "elsewhere" / "images.npz").write_bytes(b"not these")
    (here / "split.json").write_text(json.dumps({"train": list(range(0, 160, 2)), "valid": list(range(1, 160, 2))}))
    (here / "settings.yaml").write_text("data: {source: images.npz, split_file: split.json}")
    monkeypatch.chdir(here)
    return here


def test_every_command_goes_on_from_another_folder(poise: Poise, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    assert poise(*SEARCH, "--data=images.npz", "--set=data.split_file=split.json", "--out=run").code == 0
    config = yaml.safe_load((here / "run" / "config.yaml").read_text())
    assert config["data"]["source"] == str(here / "images.npz")
    assert config["data"]["split_file"] == str(here / "split.json")

    given = {"data.split_file": "split.json", "selection.tune_epochs": 0}
    with pytest.raises(api.Stopped):
        api.select("run", "perturbation", data="images.npz", settings=given, control=RunControl(asked=lambda: True))
    monkeypatch.chdir(here.parent / "elsewhere")
    run, net = "../here/run", "../here/run/net"
    for command in (
        ("resume", run),  # the selection
        ("resume", run),  # the search, which has ended
        ("select", run, "--rule=magnitude"),
        ("diagnose", run, "--only=discretisation"),
        ("show", run),
        ("train", run, *TRAIN),
        ("resume", net),
        ("evaluate", net),
        ("export", net, "--to=safetensors"),
        ("show", net),
    ):
        outcome = poise(*command)
        assert (outcome.code, outcome.err) == (0, ""), command
    assert (here / "run" / "genotype-perturbation.json").is_file()
    assert (here / "run" / "net" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "options",
    [
        ["--data=images.npz", "--set=data.split_file=split.json"],
        ["--set=data.source=images.npz", "--set=data.split_file=split.json"],
        ["--config=settings.yaml"],
    ],
    ids=["--data", "--set", "--config"],
)
def test_however_a_path_is_given(poise: Poise, here: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    monkeypatch.chdir(here)
    printed = yaml.safe_load(poise("search", "--print-config", *options).out)["data"]
    assert (printed["source"], printed["split_file"]) == (str(here / "images.npz"), str(here / "split.json"))


def test_latency_tables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aim.yaml").write_text("search: {target: {metric: latency, value: 1.0, table: lat.json}}")
    for given, folder in (([], tmp_path), (["search.target.table=../lat.json"], tmp_path.parent)):
        settings = resolve(file=Path("aim.yaml"), overrides=[parse_override(text) for text in given])
        assert settings.search.target == api.CostTarget("latency", 1.0, str(folder / "lat.json"))


def test_a_run_of_before_paths_were_absolute_goes_on_from_its_folder(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = f"data:\n  source: {here / 'images.npz'}\n  seed: 0\n"
    run = RunFolder.create(tmp_path / "run", "search", config.replace(str(here) + "/", ""), "")
    assert RunFolder.proceed(run.path, "search", config).path == run.path
    for other in (config.replace("images", "photos"), config.replace("seed: 0", "seed: 1")):
        with pytest.raises(api.Refused, match=re.escape("started with other settings")):
            RunFolder.proceed(run.path, "search", other)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(api.Refused, match=r"source: images\.npz, now source: /"):
        RunFolder.proceed(run.path, "search", config)


def test_data_from_python_is_no_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python" / "cat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve(data=[1, 2]).data.source == "python"
    assert resolve(data="python").data.source == str(tmp_path / "python")
