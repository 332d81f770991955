"""What happens in a run, as values; progress bars, files and TensorBoard listen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Started:
    """A stage (``search``, ``tune``, ``train``) of ``steps`` steps begins; ``done`` of them lie behind."""

    stage: str
    steps: int
    done: int = 0


@dataclass(frozen=True)
class Stepped:
    """``done`` steps of the stage are done."""

    stage: str
    done: int


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of the stage ended with this record; `record` is one line of ``history.jsonl``."""

    stage: str
    record: dict[str, Any]


@dataclass(frozen=True)
class Noted:
    """Something that the person who waits should know."""

    message: str


Event = Started | Stepped | EpochEnded | Noted
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
