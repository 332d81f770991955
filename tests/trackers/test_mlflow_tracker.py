"""Runs in a local store of MLflow's, read back by its own client."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from trackers_support import search, stopped_after_one

import poise
from poise.config.reading import leaves, read_yaml
from poise.report.curves import flatten


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")  # what the tracker sets does not outlast the test
    from mlflow.tracking import MlflowClient

    return MlflowClient((tmp_path / "mlruns").as_uri())


def only_run(client: Any, experiment: str = "poise") -> Any:
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run


def test_a_search_that_was_stopped_is_one_run_with_every_epoch_once(client: Any, tmp_path: Path) -> None:
    stopped_after_one(tmp_path / "run", ["mlflow"])
    before = only_run(client)
    assert (before.info.status, before.info.run_name) == ("KILLED", "run")
    result = poise.resume(tmp_path / "run", listen=poise.ignore)
    after = only_run(client)
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    config = dict(leaves(read_yaml(tmp_path / "run" / "config.yaml")))
    assert after.data.params == {name: str(value) for name, value in config.items()}
    assert after.data.params["search.epochs"] == "3"
    for tag in ("train_loss", "search_accuracy", "alignment/train", "mixture/cell/entropy"):
        points = [(point.step, point.value) for point in client.get_metric_history(after.info.run_id, tag)]
        assert points == [(record["epoch"] + 1, flatten(record)[tag]) for record in result.history]
    assert after.data.tags["genotype"] == result.space.describe(result.genotype)
    files = {each.path for each in client.list_artifacts(after.info.run_id)}
    assert {"report.html", "genotype.json", "config.yaml", "figures"} <= files


def test_the_network_that_is_kept_there_is_the_network(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    result = search(tmp_path / "run")
    net = tmp_path / "run" / "net"
    network = poise.train(result, out=net, track=["mlflow"], listen=poise.ignore)
    run = only_run(client, "mine")
    for name, value in network.result.items():
        name = name.replace("test_accuracy/", "test_accuracy.")  # in files nothing is both a file and a folder
        assert run.data.metrics[name] == pytest.approx(value, rel=1e-12)
    assert "test_accuracy.3" in run.data.metrics
    folder = client.download_artifacts(run.info.run_id, "network", str(tmp_path))
    assert poise.evaluate(folder, "digits", listen=poise.ignore) == poise.evaluate(net, "digits", listen=poise.ignore)
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(poise.load_network(folder).complete(images), poise.load_network(net).complete(images))


def test_a_server_that_is_gone_costs_a_note(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    notes: list[str] = []
    result = search(tmp_path / "run", ["mlflow"], listen=lambda event: notes.append(getattr(event, "message", "")))
    assert len(result.history) == 3
    assert len([note for note in notes if note.startswith("mlflow no longer tracks this run")]) == 1
    assert not [note for note in notes if "secret" in note]
