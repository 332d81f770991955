"""What stands in for the folder of a run that is not saved: it takes everything and keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from poise.engine.checkpoint import NOWHERE, Checkpoints, State

if TYPE_CHECKING:
    from torch import Tensor

    from poise.engine.run import RunFolder


class Output(Protocol):
    """Where a run puts what it makes: a `RunFolder`, which says what each method does, or `Unsaved`."""

    @property
    def path(self) -> Path | None: ...

    @property
    def checkpoints(self) -> Checkpoints | None: ...

    def start(self, note: Callable[[str], None]) -> State: ...

    def clear(self) -> None: ...

    def holding(self, name: str) -> RunFolder | None: ...

    def write(self, name: str, text: str) -> object: ...

    def append(self, record: Mapping[str, Any]) -> None: ...

    def rewrite_history(self, records: Sequence[Mapping[str, Any]]) -> None: ...

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None: ...


class Unsaved:
    """Satisfies `Output`."""

    path = None
    checkpoints = None

    def start(self, note: Callable[[str], None]) -> State:
        return NOWHERE

    def clear(self) -> None:
        pass

    def holding(self, name: str) -> RunFolder | None:
        return None

    def write(self, name: str, text: str) -> object:
        return None

    def append(self, record: Mapping[str, Any]) -> None:
        pass

    def rewrite_history(self, records: Sequence[Mapping[str, Any]]) -> None:
        pass

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        pass
