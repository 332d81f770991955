"""Turn NAS-Bench-101's official TFRecord file into a compact CSV, once; without TensorFlow.

The layout, from the benchmark's public code: every record is JSON, ``[hash, epochs, adjacency, operations, metrics]``,
one for each of three trainings of a cell; ``metrics`` is a protocol buffer in base64 whose field 1 holds evaluations
(before training, half-way, at the end; each with training time and accuracies in fields 2 to 5) and whose field 2 is
the number of parameters. The checksums of all records are verified.

Honestly: tested on small files written in this layout, and never run on the official file.
"""

from __future__ import annotations

import base64
import binascii
import csv
import gzip
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

from poise.engine.checkpoint import write_durably
from poise.errors import Refused
from poise.spaces.nasbench101 import Cell
from poise.truth.tfrecord import message, records

EPOCHS = 108
"""Trainings of other lengths are left out."""
HEADER = ("hash", "adjacency", "operations", "test", "validation", "train", "seconds", "params_M")
EVALUATION = {2: "seconds", 3: "train", 4: "validation", 5: "test"}
"""Field of an evaluation -> what it is."""


@dataclass
class _Sums:
    """What the trainings of one cell add up to."""

    adjacency: str
    operations: str
    parameters: int
    count: int = 0
    values: dict[str, float] = field(default_factory=lambda: dict.fromkeys(EVALUATION.values(), 0.0))


def import_nasbench101(source: str | Path, target: str | Path) -> int:
    """Convert ``nasbench_only108.tfrecord`` or ``nasbench_full.tfrecord``; returns the number of cells.

    The CSV holds means over the trainings of 108 epochs: accuracies in percent, seconds, millions of parameters.

    Raises:
        Refused: the source is missing, damaged or of another layout, or the target exists already.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise Refused(f"{target} exists already")
    if not target.absolute().parent.is_dir():
        raise Refused(f"no such folder: {target.absolute().parent}")
    found: dict[str, _Sums] = {}
    for number, data in enumerate(records(source)):
        _add(found, data, f"record {number} of {source}")
    if not found:
        raise Refused(f"{source} holds no training of {EPOCHS} epochs")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for name, sums in sorted(found.items()):
        mean = {key: value / sums.count for key, value in sums.values.items()}
        accuracies = (f"{100 * mean[key]:.4f}" for key in ("test", "validation", "train"))
        row = (name, sums.adjacency, sums.operations, *accuracies, f"{mean['seconds']:.3f}", sums.parameters / 1e6)
        writer.writerow(row)
    content = text.getvalue().encode()
    write_durably(target, gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)
    return len(found)


def _add(found: dict[str, _Sums], data: bytes, what: str) -> None:
    """Take up one training."""
    try:
        name, epochs, adjacency, operations, encoded = json.loads(data)
        if not all(isinstance(text, str) for text in (name, adjacency, operations, encoded)):
            raise TypeError
        if epochs != EPOCHS:
            return
        metrics = list(message(base64.b64decode(encoded, validate=True)))
        evaluations = [dict(message(value)) for key, value in metrics if key == 1 and isinstance(value, bytes)]
        (parameters,) = (value for key, value in metrics if key == 2)
        numbers = {label: float(evaluations[2][key]) for key, label in EVALUATION.items()}
        if not all(0 <= numbers[label] <= 1 for label in ("train", "validation", "test")):
            raise ValueError("an accuracy is a share")
        if not 0 <= numbers["seconds"] < float("inf"):
            raise ValueError("a time is at least 0")
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, binascii.Error) as error:
        raise Refused(f"{what} is no training of NAS-Bench-101 ({type(error).__name__})") from None
    if name not in found:
        if Cell.of_matrix(adjacency, operations).hash != name:
            raise Refused(f"{what}: the cell is not the one that its hash {name[:40]!r} says")
        found[name] = _Sums(adjacency, operations, int(parameters))
    sums = found[name]
    sums.count += 1
    for label, value in numbers.items():
        sums.values[label] += value
