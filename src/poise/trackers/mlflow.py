"""MLflow: a run in the store that MLflow's own environment variables name, or in a local one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from poise.extras import installed
from poise.trackers.tracker import TRACKERS, Ending, Outcome, TrackedRun

DEFAULTS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # the one local store that needs no database package
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is gone must not hold up the run for long
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""MLflow is configured by its environment alone; what a person has set stays."""
EXPERIMENT = "poise"
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
MOST_PARAMETERS, LONGEST_VALUE, LONGEST_NAME = 100, 6000, 250
"""Of one request, and characters."""
FOREIGN = re.compile(r"[^\w\-. :/]")


@TRACKERS.add("mlflow")
class MLflow:
    """An MLflow run, where MLFLOW_TRACKING_URI says, or in a local store; experiment: MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, run: TrackedRun) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient(_store())
        if run.id is not None:
            self.id = run.id
            self._client.update_run(self.id, status="RUNNING")
        else:
            made = self._client.create_run(self._experiment(), run_name=run.name, tags={"poise.kind": run.kind})
            self.id = str(made.info.run_id)
            values = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in run.parameters.items()]
            for start in range(0, len(values), MOST_PARAMETERS):
                self._client.log_batch(self.id, params=values[start : start + MOST_PARAMETERS])
        self.where = f"run {self.id} in {self._client.tracking_uri}"
        self._last = 0

    def _experiment(self) -> str:
        given = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if given:
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found is not None else self._client.create_experiment(name))

    @property
    def holds(self) -> int | None:
        return None  # it answers when it has written

    def rewind(self, epochs: int) -> bool:
        """MLflow forgets nothing."""
        return False

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_named(tag, numbers), value, now, epoch) for tag, value in numbers.items()]
        for start in range(0, len(metrics), 1000):
            self._client.log_batch(self.id, metrics=metrics[start : start + 1000])
        self._last = epoch

    def finish(self, outcome: Outcome) -> None:
        self.log(self._last, outcome.numbers)
        for name, text in outcome.facts.items():
            self._client.set_tag(self.id, name, text[:LONGEST_VALUE])
        for file in outcome.files:
            self._client.log_artifact(self.id, str(file), "figures" if file.parent.name == "figures" else None)
        for file in outcome.network:
            self._client.log_artifact(self.id, str(file), "network")

    def close(self, ending: Ending) -> None:
        self._client.set_terminated(self.id, STATUS[ending])


def _store() -> str | None:
    """None: what MLflow goes by itself. Its own default is a database, which takes a package that the small MLflow does
    not bring; without that, and without a choice of a person's, files."""
    if os.environ.get("MLFLOW_TRACKING_URI") or installed("sqlalchemy"):
        return None
    return Path("mlruns").absolute().as_uri()


def _named(tag: str, tags: Container[str]) -> str:
    """A tag as MLflow takes it. A class may be called anything; and where files are the store, no tag can be the folder
    of another one: ``accuracy/cat`` beside ``accuracy`` is ``accuracy.cat``."""
    folder, *rest = tag.split("/")
    name = folder
    for part in rest:
        name, folder = f"{name}{'.' if folder in tags else '/'}{part}", f"{folder}/{part}"
    return FOREIGN.sub("_", name)[:LONGEST_NAME]
