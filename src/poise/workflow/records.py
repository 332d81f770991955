"""The records of a stage's epochs, written where people look: the history, TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from poise.engine.events import EpochEnded, Event, Listener
from poise.engine.run import RunFolder
from poise.report.tensorboard import log_record, open_writer


@contextmanager
def recorded(folder: RunFolder, stage: str, epoch: int, listen: Listener) -> Iterator[Listener]:
    """A listener that writes every record of ``stage``, from ``epoch`` on, and tells ``listen`` of everything."""
    writer = open_writer(folder.path / "tensorboard", epoch + 1)

    def keep(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.stage == stage:
            folder.append(event.record)
            log_record(writer, event.record, event.record["epoch"] + 1)  # the page counts from 1, the history from 0
        listen(event)

    try:
        yield keep
    finally:
        writer.close()
