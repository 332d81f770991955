"""Turn an official benchmark file into poise's compact CSV, once; what the file holds says which benchmark's it is."""

from __future__ import annotations

from pathlib import Path

from poise.bench.importing import import_nasbench201
from poise.bench.importing101 import import_nasbench101
from poise.bench.tfrecord import is_tfrecord
from poise.errors import Refused


def import_official(source: str | Path, target: str | Path) -> int:
    """Convert an official file of NAS-Bench-101 (a TFRecord), NAS-Bench-201 or NATS-Bench; returns how many
    architectures it held.

    Raises:
        Refused: the source is missing, damaged or of another layout, or the target exists already.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise Refused(f"{target} exists already")
    if not target.absolute().parent.is_dir():
        raise Refused(f"no such folder: {target.absolute().parent}")
    if source.suffix == ".tfrecord" or is_tfrecord(source):
        return import_nasbench101(source, target)
    return len(import_nasbench201(source, target))
