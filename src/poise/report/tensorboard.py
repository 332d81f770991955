"""TensorBoard scalars of every epoch's record."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from poise.report.curves import Record, flatten


def open_writer(folder: Path) -> SummaryWriter:
    """A writer of event files into ``folder``. Close it when the run is over."""
    return SummaryWriter(str(folder))


def log_record(writer: SummaryWriter, record: Record, step: int) -> None:
    """Write every finite number of a record, tagged by its nested names: ``alignment/train``. The epoch is the step."""
    for tag, value in flatten(record).items():
        if tag != "epoch":
            writer.add_scalar(tag, value, step)
