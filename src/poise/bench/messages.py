"""What processes that compute together send each other, counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from poise.supernet.trees import tensors


class Messages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the collectives of everything inside, and the ``bytes`` that each process puts into them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function.namespace == "c10d":
            self.count += 1
            self.bytes += sum(value.nbytes for value in tensors(args))
        return function(*args, **(kwargs or {}))
