"""TensorBoard scalars of every epoch's record."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from poise.report.curves import Record, flatten


def open_writer(folder: Path, epoch: int = 0) -> SummaryWriter:
    """A writer of event files into ``folder``, from ``epoch`` on: what the files there say of it and of later ones no
    longer counts. Close it when the run is over."""
    return SummaryWriter(str(folder), purge_step=epoch)


def log_record(writer: SummaryWriter, record: Record, step: int) -> None:
    """Write every finite number of a record, tagged by its nested names: ``alignment/train``. The epoch is the step."""
    for tag, value in flatten(record).items():
        if tag != "epoch":
            writer.add_scalar(tag, value, step)
