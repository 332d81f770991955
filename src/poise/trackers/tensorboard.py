"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from poise.trackers.tracker import TRACKERS, Ending, Outcome, TrackedRun

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@TRACKERS.add("tensorboard")
class TensorBoard:
    """Curves as event files in the run's folder: tensorboard --logdir RUN. Tracks every run where it is installed."""

    id = None
    where = None
    holds = None

    def __init__(self, run: TrackedRun) -> None:
        self._folder = str(run.folder / "tensorboard")
        self._writer: SummaryWriter | None = None

    def rewind(self, epochs: int) -> bool:
        """What the files say of later epochs no longer counts."""
        from torch.utils.tensorboard import SummaryWriter

        self.close("stopped")
        self._writer = SummaryWriter(self._folder, purge_step=epochs + 1)
        return True

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        assert self._writer is not None  # no epoch comes before it was said where the run begins
        for tag, value in numbers.items():
            self._writer.add_scalar(tag, value, epoch)

    def finish(self, outcome: Outcome) -> None:
        """Figures and page lie beside its files."""

    def close(self, ending: Ending) -> None:
        if self._writer is not None:
            self._writer.close()
