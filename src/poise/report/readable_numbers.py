"""Numbers of records and results: whose they are, of what, and how a person reads them; times, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from poise.registries import TASKS

SPLITS = {"train": "train", "search": "search", "valid": "validation", "test": "test"}
"""How a number's name begins -> what that part of the data is called."""


def parts(name: str) -> tuple[str, str]:
    """Of which part of the data a number is, ``""`` for none, and of what: ``train_loss`` -> ``("train", "loss")``."""
    split, _, rest = name.partition("_")
    return (split, rest) if split in SPLITS and rest else ("", name)


@cache
def _of_tasks() -> frozenset[str]:
    found = [metrics for task in TASKS.values() if isinstance(metrics := task.measures, tuple)]
    return frozenset(metric.name for metrics in found for metric in metrics if metric.share)


def shares(records: Iterable[Mapping[str, Any]] = ()) -> frozenset[str]:
    """The names of metrics that are shares: those of all tasks, and the one that counts in these records."""
    own = (record.get("metric") for record in records)
    return _of_tasks() | {metric["name"] for metric in own if isinstance(metric, Mapping) and metric.get("share")}


def is_share(name: str, known: frozenset[str]) -> bool:
    """Whether a number is a share of ``known``, of a single class too: ``test_accuracy/cat``."""
    return parts(name)[1].partition("/")[0] in known


def words(name: str) -> str:
    """``mean_iou`` -> ``mean iou``."""
    return name.replace("_", " ")


def duration(seconds: float) -> str:
    """``1 h 05 min``, ``3 min 20 s``, ``12 s``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
