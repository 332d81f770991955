"""A network's forward pass compiled by `torch.compile`, as one graph: its kernels are fused. Where it cannot be, it is
computed as ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from poise.engine.events import Listener, Noted


class Compiled:
    """A function, compiled at its first call, and again for other shapes.

    A function that is no single graph, or for which there is no compiler, is called as it is. Nothing has been computed
    when that turns out, so that nothing is computed twice.

    Args:
        function: of tensors, and of what is the same in every call.
        listen: is told once if it cannot be compiled.
        backend: of `torch.compile`.
    """

    def __init__(self, function: Callable[..., Any], listen: Listener, backend: str = "inductor") -> None:
        self._function = function
        self._listen = listen
        self._compiled: Callable[..., Any] = torch.compile(function, fullgraph=True, dynamic=False, backend=backend)

    def __call__(self, *inputs: Any, **given: Any) -> Any:
        from torch._dynamo.exc import TorchDynamoException  # takes as long to import as torch itself

        try:
            return self._compiled(*inputs, **given)
        except TorchDynamoException as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            self._listen(Noted(f"the network is not compiled: {' '.join(lines[:2])}"))
            self._compiled = self._function
            return self._function(*inputs, **given)
