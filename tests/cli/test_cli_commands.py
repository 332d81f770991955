"""Every command, in the order in which a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from conftest import TINY, TINY_TRAIN, Poise
from poise.genotype import Genotype
from poise.methods.preset import METHODS
from poise.selection.rule import SELECTIONS
from poise.spaces.space import SPACES


@pytest.fixture(scope="module", autouse=True)
def unrendered() -> None:
    """Figures are rendered here: what a person runs is run whole."""


def test_search_select_train_evaluate_export_show(poise: Poise, images: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    found = poise(
        "search",
        "--data",
        images,
        "--space",
        "nasbench201",
        "--method",
        "fair-darts",
        "--out",
        run,
        *TINY,
        "--set=space.cells=1",
    )
    assert found.code == 0, found.err
    assert "search epoch 1" in found.out
    assert "poise train" in found.out
    files = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    assert files >= {
        "config.yaml",
        "history.jsonl",
        "genotype.json",
        "genotype-threshold.json",
        "alphas.safetensors",
        "supernet.safetensors",
        "adam.safetensors",
        "report.html",
        *(f"figures/{stem}.{kind}" for stem in ("cells", "mixture", "curves") for kind in ("svg", "png")),
    }
    assert any(name.startswith("tensorboard/events") for name in files)
    (record,) = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    assert record["epoch"] == 0
    assert 0 <= record["train_accuracy"] <= 1
    assert set(record["mixture"]) == {"cell"}

    for rule in ("magnitude", "perturbation", "threshold"):
        selected = poise("select", run, "--rule", rule, *(["--set=selection.tune_epochs=0"] if rule[0] == "p" else []))
        assert selected.code == 0, selected.err
        genotype = (run / f"genotype-{rule}.json").read_text()
        assert (run / "genotype.json").read_text() == genotype
        SPACES["nasbench201"]().check(Genotype.from_json(genotype))

    diagnosed = poise("diagnose", run, "--only", "discretisation, saturation,skips", "--batches", "1")
    assert diagnosed.code == 0, diagnosed.err
    written = json.loads((run / "diagnose.json").read_text())
    assert set(written["findings"]) == {"discretisation", "saturation", "skips"}
    drop = written["findings"]["discretisation"]["numbers"]["discretisation/drop"]
    assert f"{100 * drop:.2f}%" in diagnosed.out
    assert str(run / "diagnose.json") in diagnosed.out

    trained = poise("train", run, *TINY_TRAIN, "--cells=1")
    assert trained.code == 0, trained.err
    net = run / "net"
    result = json.loads((net / "result.json").read_text())
    assert f"{100 * result['test_accuracy']:.2f}%" in trained.out

    evaluated = poise("evaluate", net, "--data", images)
    assert evaluated.code == 0, evaluated.err
    assert f"{100 * result['test_accuracy']:.2f}%" in evaluated.out
    assert poise("evaluate", net).out == evaluated.out

    for kind, file in (("safetensors", "model.safetensors"), ("python", "model.py"), ("onnx", "model.onnx")):
        exported = poise("export", net, "--to", kind)
        assert exported.code == 0, exported.err
        assert str(net / file) in exported.out
        assert (net / file).stat().st_size > 0
    elsewhere = tmp_path / "elsewhere" / "digits"
    assert poise("export", net, "--to", "safetensors", "--out", elsewhere).code == 0
    assert elsewhere.with_suffix(".safetensors").is_file()

    shown = poise("show", run)
    assert shown.code == 0, shown.err
    assert "|+|" in shown.out, "the notation of the space"
    assert str(run / "report.html") in shown.out
    assert "test accuracy" in poise("show", net).out


def test_retraining_from_a_genotype_file_in_any_notation(poise: Poise, images: Path, tmp_path: Path) -> None:
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    (tmp_path / "found.txt").write_text(text)
    small = ("--channels", "2", "--cells", "1", "--epochs", "1", "--preset", "demo", "--set", "train.batch_size=64")
    trained = poise("train", "found.txt", "--data", images, *small)
    assert trained.code == 0, trained.err
    genotype = Genotype.from_json((tmp_path / "runs" / "net-found" / "genotype.json").read_text())
    assert SPACES["nasbench201"]().describe(genotype) == text


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", METHODS),
        ("spaces", SPACES),
        ("selections", SELECTIONS),
        ("slots", ["relaxation=", "adversarial"]),
        ("systems", ["base pc-darts", "no cure", "sdarts-adv"]),
        ("data", ["digits", "hf:owner/name"]),
        ("exports", ["onnx", "python", "safetensors"]),
    ],
)
def test_list(poise: Poise, what: str, names: list[str]) -> None:
    listed = poise("list", what)
    assert listed.code == 0
    for name in names:
        assert name in listed.out


def test_print_config_can_be_read_back(poise: Poise, tmp_path: Path) -> None:
    options = (
        "--method=sdarts-rs",
        "--set=alignment=layer",
        "--set=alignment.strength=0.5",
        "--set=relaxation=sigmoid",
    )
    printed = poise("search", "--print-config", "--preset=demo", "--space=s3", "--seed=7", *options)
    assert printed.code == 0
    config = yaml.safe_load(printed.out)
    assert config["method"]["alignment"] == {
        "kind": "layer",
        "strength": 0.5,
        "form": "corr",
        "distance": 0.001,
        "ramp": 1.0,
        "required": True,
    }
    assert config["method"]["relaxation"] == {"kind": "sigmoid"}
    assert config["method"]["perturbation"]["kind"] == "random"
    assert (config["space"]["name"], config["seed"]) == ("s3", 7)
    (tmp_path / "config.yaml").write_text(printed.out)
    assert poise("search", "--print-config", "--config=config.yaml").out == printed.out
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yaml"]


def test_dry_run_counts_and_writes_nothing(poise: Poise, images: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    planned = poise("search", "--data", images, "--dry-run", "--space=nasbench201", *TINY[:1], *TINY[3:])
    assert planned.code == 0, planned.err
    assert "steps    1 " in planned.out
    assert "32 to train, 32 to search" in planned.out
    assert set(tmp_path.rglob("*")) == before


def test_overwrite_replaces_the_run_and_nothing_else(poise: Poise, images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("search", "--data", images, "--space=nasbench201", "--method=darts", "--out", run, *TINY)
    assert poise(*options, "--set=space.cells=1").code == 0
    first = (run / "alphas.safetensors").read_bytes()
    (run / "notes.txt").write_text("mine")
    refused = poise(*options, "--set=space.cells=1", "--seed=1")
    assert (refused.code, (run / "alphas.safetensors").read_bytes()) == (2, first)
    assert poise(*options, "--set=space.cells=1", "--seed=1", "--overwrite").code == 0
    assert (run / "alphas.safetensors").read_bytes() != first
    assert (run / "notes.txt").read_text() == "mine"
    assert len((run / "history.jsonl").read_text().splitlines()) == 1
