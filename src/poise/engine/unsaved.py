"""What stands in for the folder of a run that is not saved: it takes everything and keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from poise.engine.checkpoint import NOWHERE, State
from poise.engine.run import RunFolder

if TYPE_CHECKING:
    from torch import Tensor


class Unsaved:
    """Does nothing of what a `RunFolder` does."""

    path = None
    checkpoints = None

    def start(self, note: Callable[[str], None]) -> State:
        return NOWHERE

    def clear(self) -> None:
        pass

    def holding(self, name: str) -> None:
        return None

    def write(self, name: str, text: str) -> None:
        pass

    def append(self, record: Mapping[str, Any]) -> None:
        pass

    def rewrite_history(self, records: Sequence[Mapping[str, Any]]) -> None:
        pass

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        pass


Output = RunFolder | Unsaved
"""Where a run puts what it makes."""
