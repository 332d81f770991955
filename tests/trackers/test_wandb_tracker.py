"""Offline runs of Weights & Biases, read back from the files that it would send."""

from __future__ import annotations

from pathlib import Path

import pytest
from trackers_support import search, stopped_after_one
from wandb_files import written

import poise
from poise.config.reading import leaves, read_yaml
from poise.report.curves import flatten


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"MODE": "offline", "ERROR_REPORTING": "false", "PROJECT": "", "DIR": ""}
    values |= {name: str(tmp_path / name) for name in ("CACHE_DIR", "DATA_DIR", "CONFIG_DIR")}
    for name, value in values.items():
        monkeypatch.setenv(f"WANDB_{name}", value)


def test_a_search_that_was_stopped_is_one_run_with_every_epoch_once(tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped_after_one(out, ["wandb"])
    result = poise.resume(out, listen=poise.ignore)
    found = written(out)
    assert len(found.ids) == 2
    assert len(set(found.ids)) == 1
    assert (found.names, found.codes) == ({"run"}, [1, 0])
    expected = [(record["epoch"] + 1, {**flatten(record)}) for record in result.history]
    assert found.epochs == [(step, {k: v for k, v in numbers.items() if k != "epoch"}) for step, numbers in expected]
    config = dict(leaves(read_yaml(out / "config.yaml")))
    assert {name: found.config[name] for name in config} == config
    assert found.summary["genotype"] == result.space.describe(result.genotype)
    assert {"report.html", "figures/cells.svg", "genotype.json", "config.yaml"} <= found.artifacts["report"]
    assert "model" not in found.artifacts


def test_a_training_leaves_its_network_and_its_results(tmp_path: Path) -> None:
    result = search(tmp_path / "run")
    network = poise.train(result, out=tmp_path / "run" / "net", track=["wandb"], listen=poise.ignore)
    found = written(tmp_path / "run" / "net")
    assert {name: found.summary[name] for name in network.result} == network.result
    assert {"network.safetensors", "network.json", "genotype.json", "run.json"} <= found.artifacts["model"]
