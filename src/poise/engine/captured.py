"""Steps captured once and replayed: on a GPU a small step takes as long as its launches, and a CUDA graph launches
thousands of kernels at once.

A replay does again, without Python, what the captured call launched: on the same memory, with the same Python numbers.
So it computes what the step would have computed, to the last bit, as long as

- batches and random numbers are copied into the memory that was read (`Captured` does that for what it is called with
  and for the `Draws` that it hands out), learning rates are filled in where they lie;
- all that moves, moves in place: weights, alphas, running statistics, what optimizers remember;
- everything else is constant. What is not, changes between epochs only, and each epoch captures anew.

A function that reads back, draws or takes numbers from the host is found (`poise.engine.device_only`) and is called as
it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.utils._pytree import TreeSpec, tree_flatten

from poise.engine.device_only import DeviceOnly
from poise.engine.events import Listener, Noted
from poise.supernet.draws import Draws, draws_nothing, takes_draws
from poise.supernet.trees import Tree, mapped, others, tensors

T = TypeVar("T")
Form = tuple[TreeSpec, tuple[Any, ...]]


class Backend(Protocol):
    """What records launches."""

    def aside(self, function: Callable[[], T]) -> T:
        """Call a function that may be captured later."""
        ...

    def capture(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Record what a function launches; nothing is computed. Returns what computes it, and the function's value: its
        tensors hold what was computed last."""
        ...


class CudaGraphs:
    """CUDA graphs, each in memory of its own. Satisfies `Backend`."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def aside(self, function: Callable[[], T]) -> T:
        """On the stream that captures: what autograd and libraries keep for a stream is then there."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            found = function()
        current.wait_stream(self._stream)
        return found

    def capture(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        graph = torch.cuda.CUDAGraph()
        # Threads that fetch batches may go on allocating meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            found = function()
        return graph.replay, found


def backend_of(device: torch.device, capture: str) -> Backend | None:
    """What captures on a device, by the setting ``auto`` or ``off``; None: nothing does."""
    return CudaGraphs(device) if capture == "auto" and device.type == "cuda" else None


class Captured:
    """A function of a tree of tensors, replayed where it can be.

    Since the last `forget` its first call makes what is made once, its second is watched, its third is captured; all
    others with inputs of these shapes are replays. Other shapes, such as an epoch's last batch, are computed as they
    come.

    Args:
        backend: None: every call is a plain one.
        listen: is told once if the function cannot be captured.
        watch: whether the second call is watched. One that is compiled cannot be; it would show in being captured.
    """

    def __init__(self, backend: Backend | None, listen: Listener, watch: bool = True) -> None:
        self._backend = backend
        self._watch = watch
        self._listen = listen
        self.forget()

    @property
    def capturing(self) -> bool:
        """Whether calls may be replays, so that memory that a call read must be where it was."""
        return self._backend is not None

    @property
    def replays(self) -> bool:
        """Whether a call has been captured."""
        return self._graph is not None

    def forget(self) -> None:
        """What is called from now on may compute something else."""
        self._draws: dict[str, Draws] = {}
        self._form: Form | None = None
        self._calls = 0
        self._graph: _Graph | None = None

    def draws(self, name: str, seed: int, device: torch.device, exact: bool = False) -> Draws:
        """The random numbers of the next call, by name and seed: where it may be a replay they come into the memory of
        those before. ``exact`` is as in `Draws`."""
        if self.capturing and name in self._draws:
            return self._draws[name].refill(seed)
        self._draws[name] = Draws(seed, device, exact=exact)
        return self._draws[name]

    def hand_draws_to(self, module: nn.Module, name: str) -> None:
        """The function calls this module: capture nothing unless its random numbers can be handed to it."""
        if not (takes_draws(module) or draws_nothing(module)):
            self.refuse(f"random numbers cannot be handed to the {name}")

    def refuse(self, reason: str) -> None:
        """Capture nothing from now on, and say why."""
        if self._backend is not None:
            self._listen(Noted(f"steps are not captured in a graph: {reason}"))
        self._backend = None
        self.forget()

    def __call__(self, function: Callable[[Tree], Any], inputs: Tree) -> Any:
        """``function(inputs)``; the result is the caller's, no later call changes it."""
        if self._backend is not None and others(inputs):
            self.refuse(f"a batch holds a {type(others(inputs)[0]).__name__}, not tensors only")
        backend = self._backend
        if backend is None:
            return function(inputs)
        form = _form(inputs)
        if self._graph is not None:
            return self._graph(inputs) if form == self._form else backend.aside(lambda: function(inputs))
        self._calls = self._calls + 1 if form == self._form else 1
        self._form = form
        if self._calls == 1 or (self._calls == 2 and not self._watch):
            return backend.aside(lambda: function(inputs))
        if self._calls == 2:
            with DeviceOnly() as watch:
                found = backend.aside(lambda: function(inputs))
            if watch.found:
                self.refuse(watch.told())
            return found
        try:
            self._graph = _Graph(backend, function, inputs)
        except RuntimeError as error:  # nothing has been computed
            self.refuse(str(error).strip().partition("\n")[0])
            return function(inputs)
        return self._graph(inputs)


class _Graph:
    """A function captured for inputs of one form."""

    def __init__(self, backend: Backend, function: Callable[[Tree], Any], inputs: Tree) -> None:
        self._inputs = mapped(torch.clone, inputs)
        self._replay, self._found = backend.capture(lambda: function(self._inputs))

    def __call__(self, inputs: Tree) -> Any:
        for read, given in zip(tensors(self._inputs), tensors(inputs), strict=True):
            read.copy_(given, non_blocking=True)
        self._replay()
        return mapped(torch.clone, self._found)


def _form(inputs: Tree) -> Form:
    """What must be the same for inputs to be replayed: how they nest, and each one's shape, layout and kind."""
    leaves, nesting = tree_flatten(inputs)
    return nesting, tuple((leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in leaves)
