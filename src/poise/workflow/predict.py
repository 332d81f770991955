"""Predictions of a trained network for new data, and where they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor, nn

from poise.engine.events import Listener, Noted, Started, Stepped, ignore
from poise.engine.predict import Predicted, Prediction, Predictor
from poise.errors import Refused
from poise.export.session import Session
from poise.report.predictions import Row, csv_rows, json_rows, mask_files, replacing, terminal_rows, unwritten
from poise.tasks.supervised import Supervised
from poise.tasks.task import Task, task_from
from poise.workflow.network import network_in
from poise.workflow.saved import check_unused

BATCH_SIZE = 256
"""Inputs that are held at a time, unless asked otherwise."""


def predict(
    what: Any,
    inputs: Any,
    *,
    module: nn.Module | None = None,
    task: Task | None = None,
    device: str = "auto",
    precision: str = "32",
    batch_size: int = BATCH_SIZE,
) -> Iterator[Predicted]:
    """What a trained network says of new data, one after the other and in its order.

    ``batch_size`` inputs are in memory at a time. One that cannot be read has an ``error`` and no prediction, and does
    not stop the others.

    Args:
        what: a trained network, the folder of one, or an ``.onnx`` file that `export` wrote.
        inputs: for images: a path of a file or a folder, a pattern such as ``new/*.jpg``, an image of Pillow, an array
            or a tensor ``[n, channels, height, width]`` or ``[channels, height, width]``, or an iterable of any of
            these. Numbers are in the unit of the training data, see `TrainedNetwork.complete`; ``uint8`` is divided
            by 255. For other data: arrays ``[n, ...]`` as the network was trained on.
        module, task: for a folder, if the network is of a module or for a task of your own: see `load_network`.
        device, precision: as in `poise.evaluate`; an ``.onnx`` file runs on the CPU, in its own precision.

    Raises:
        Refused: there is no such network, or it cannot predict of such data.
    """
    return predictor(what, module=module, task=task, device=device, precision=precision)(inputs, batch_size)


def predictor(
    what: Any, *, module: nn.Module | None = None, task: Task | None = None, device: str = "auto", precision: str = "32"
) -> Predictor:
    """The network of `predict`, ready to predict."""
    if isinstance(what, str | Path) and Path(what).suffix == ".onnx" and not Path(what).is_dir():
        check_unused(module, f"{what} has all that it needs")
        return _exported(Session.open(Path(what)), task)
    return network_in(what, module, task, "predict").predictor(device, precision)


def _exported(session: Session, task: Task | None) -> Predictor:
    task, seen = task or task_from(session.about.get("task"), session.path), session.seen
    if not isinstance(task, Supervised):
        raise Refused(f"{session.path} is of the task {task.name}, which predicts nothing of files")
    return Predictor(session.intake, session.forward, lambda outputs: task.predictions(outputs, seen))


@dataclass(frozen=True)
class Count:
    """How many inputs there were, and how many of them have no prediction."""

    inputs: int
    failed: int


def write_predictions(
    ready: Predictor,
    inputs: Any,
    out: Path | TextIO,
    *,
    batch_size: int = BATCH_SIZE,
    width: int | None = None,
    total: int | None = None,
    listen: Listener = ignore,
) -> Count:
    """Write a prediction for each of ``inputs``.

    Args:
        out: a file ``.csv``, ``.json`` or ``.jsonl``, whole or not at all; a folder for masks; or an open file, which
            gets CSV, or with ``width`` lines for a person that are no wider.
        total: how many there are, as far as it is known: for the progress.
        listen: gets a note of every input without a prediction.
    """
    example = ready.example()
    done = failed = 0
    if total is not None:
        listen(Started("predict", total))
    with _rows(out, example, width) as row:
        for one in ready(inputs, batch_size):
            trouble = row(one) or one.error
            done, failed = done + 1, failed + bool(trouble)
            if trouble:
                listen(Noted(trouble))
            if total is not None:
                listen(Stepped("predict", done))
    return Count(done, failed)


def _rows(out: Path | TextIO, example: Prediction, width: int | None) -> AbstractContextManager[Row]:
    if not isinstance(out, Path):
        return csv_rows(out, example) if width is None else terminal_rows(out, width)
    if out.suffix:
        return _file(out, example)
    if not any(isinstance(value, Tensor) for value in example.values()):
        raise Refused(
            f"{out} has no ending, so it is a folder for masks, and there are none; give a .csv or .json file"
        )
    return mask_files(out)


@contextmanager
def _file(out: Path, example: Prediction) -> Iterator[Row]:
    """A file that is not there before it is whole."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            with csv_rows(file, example) if out.suffix == ".csv" else json_rows(file, out.suffix == ".jsonl") as row:
                yield row
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritten(out, error) from None
