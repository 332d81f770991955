"""Weights & Biases: a run of the project that its own environment variables name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poise.trackers.tracker import TRACKERS, Ending, Outcome, TrackedRun

PROJECT = "poise"
FLUSH, FLUSHED = "x_transaction_log_flush_interval", 0.5
"""Seconds that an epoch may be in memory only: it is another process that writes it, and that ends when the run is
killed."""


@TRACKERS.add("wandb")
class Wandb:
    """A Weights & Biases run; project: WANDB_PROJECT, without a network: WANDB_MODE=offline."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        known = wandb.Settings.model_fields
        often = {FLUSH: FLUSHED} if FLUSH in known else {}
        self.id = run.id or secrets.token_hex(4)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT, name=run.name, id=self.id, resume="allow",
            job_type=run.kind, config=dict(run.parameters), dir=os.environ.get("WANDB_DIR") or str(run.folder),
            reinit="create_new", settings=wandb.Settings(silent=True, console="off", **often),
        )  # fmt: skip
        offline = f"{Path(self._run.dir).parent}, to be sent with wandb sync"
        self.where = offline if self._run.offline else str(self._run.url)

    @property
    def holds(self) -> int | None:
        return None if self._run.offline else int(self._run.starting_step) - 1

    def rewind(self, epochs: int) -> bool:
        """What was sent stays."""
        return False

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=epoch, commit=True)

    def finish(self, outcome: Outcome) -> None:
        self._run.summary.update({**outcome.numbers, **outcome.facts})
        self._store("report", outcome.files)
        if outcome.network:
            self._store("model", outcome.network)

    def _store(self, kind: str, files: Sequence[Path]) -> None:
        import wandb

        artifact = wandb.Artifact(f"poise-{kind}-{self.id}", type=kind)
        for file in files:
            artifact.add_file(str(file), f"figures/{file.name}" if file.parent.name == "figures" else file.name)
        self._run.log_artifact(artifact)

    def close(self, ending: Ending) -> None:
        self._run.finish(exit_code=int(ending != "finished"))
