"""TensorBoard scalars of every epoch's record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from poise.extras import missing
from poise.report.curves import Record, flatten

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def open_writer(folder: Path, epoch: int = 0) -> SummaryWriter | None:
    """A writer of event files into ``folder``, from ``epoch`` on: what the files there say of it and of later ones no
    longer counts. Close it when the run is over. None: TensorBoard is not installed."""
    if missing("tensorboard"):
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=epoch)


def log_record(writer: SummaryWriter, record: Record, step: int) -> None:
    """Write every finite number of a record, tagged by its nested names: ``alignment/train``. The epoch is the step."""
    for tag, value in flatten(record).items():
        if tag != "epoch":
            writer.add_scalar(tag, value, step)
