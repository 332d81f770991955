"""What a tool that tracks runs is told. One file in this folder is one tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from poise import registries
from poise.extras import check_extra
from poise.registry import Registry

Ending = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrackedRun:
    """A run that is to be tracked.

    Args:
        folder: where it is saved; its name is the run's.
        kind: ``search`` or ``train``.
        parameters: its settings by their dotted names.
        id: under which the tool knows it already; None: it does not.
    """

    folder: Path
    kind: str
    parameters: Mapping[str, Any]
    id: str | None = None

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.folder.absolute().name


@dataclass(frozen=True)
class Outcome:
    """What a run left.

    Args:
        numbers: the final results, by tag.
        facts: what is no number, such as the genotype.
        files: its figures, its page, and what it was started with.
        network: the files that a trained network is loaded from; none after a search.
    """

    numbers: Mapping[str, float]
    facts: Mapping[str, str]
    files: Sequence[Path]
    network: Sequence[Path] = ()


class Tracker(Protocol):
    """One run in one tool; made with a `TrackedRun`. Whatever it raises ends the tracking, never the run."""

    @property
    def id(self) -> str | None:
        """Under which the tool will know the run again; None: by its folder."""
        ...

    @property
    def where(self) -> str | None:
        """Where a person finds the run, if that has to be said."""
        ...

    @property
    def holds(self) -> int | None:
        """How many epochs the tool says that it has, where it may lose some that it was told; None: all of them."""
        ...

    def rewind(self, epochs: int) -> bool:
        """Forget all epochs but these first ones; whether it can."""
        ...

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """The numbers of an epoch, by tag such as ``alignment/train``. Epochs come in order, from 1 on, each once."""
        ...

    def finish(self, outcome: Outcome) -> None:
        """The run has ended well, with this."""
        ...

    def close(self, ending: Ending) -> None:
        """Nothing more will come."""
        ...


TRACKERS: Registry[Any] = registries.TRACKERS
"""Name -> a class that takes a `TrackedRun` and makes a `Tracker`. One that needs a package bears the name of its
extra."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise `Refused` for a name that is no tracker's, and for a tracker whose package is not installed."""
    for name in names:
        TRACKERS.check(name)
        check_extra(name, f"tracking a run in {name}")
