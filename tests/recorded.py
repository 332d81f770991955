"""What a CUDA graph does, without CUDA: what a function launches is recorded once, and replayed without its Python.

A recording runs nothing as far as anybody can see: memory that was there before is afterwards as it was. A replay does
the same operations with the same Python numbers on the same memory; results are put where they lay when they were
recorded, so that views of them, and what the function returned, show the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")


def tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A straight line of operations: ``operation, arguments, result``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.line: list[tuple[OpOverload, tuple[Any, ...], dict[str, Any], Any]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.made: set[int] = set()

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for values in tensors((args, kwargs)):
            memory = values.untyped_storage()
            if memory.data_ptr() not in self.made:
                self.before.setdefault(memory.data_ptr(), (memory, memory.clone()))
        result = func(*args, **kwargs)
        self.made |= {values.untyped_storage().data_ptr() for values in tensors(result)} - self.before.keys()
        self.line.append((func, args, kwargs, result))
        return result

    def undo(self) -> None:
        """Memory from before the recording is as it was."""
        for memory, copy in self.before.values():
            memory.copy_(copy)
        self.before.clear()

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.line:
            for old, new in zip(tensors(result), tensors(func(*args, **kwargs)), strict=True):
                if new.data_ptr() != old.data_ptr():  # neither a view nor in place
                    old.copy_(new)


class Recorder:
    """Satisfies `poise.engine.captured.Backend`, on any device. ``recordings`` has all that were made."""

    def __init__(self) -> None:
        self.recordings: list[Recording] = []

    def aside(self, function: Callable[[], T]) -> T:
        return function()

    def capture(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        recording = Recording()
        with recording:
            found = function()
        recording.undo()
        self.recordings.append(recording)
        return recording.replay, found
