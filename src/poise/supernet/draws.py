"""Random numbers that are handed in: whoever asks again, in the same order, gets the same tensors.

A loss is called several times within a step and must see the same dropout and noise each time; a captured step cannot
draw at all, and reads what was drawn into the same memory before it is replayed. So chance is an argument, and not
drawn from torch's global generators. The ``i``-th tensor that is asked for has a seed of its own: it depends on nothing
that was drawn before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

STRIDE = 0x9E3779B97F4A7C15
"""Between the seeds of two tensors: odd, so that no two are the same."""

Fill = Callable[[Tensor, torch.Generator], Any]
Shape = Sequence[int]


class Chance(Protocol):
    """Where a module's random numbers come from. Nobody writes into what it hands out."""

    def uniform(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """``U[0, 1)``."""
        ...

    def normal(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """``N(0, 1)``."""
        ...

    def kept(self, shape: Shape, drop: float) -> Tensor:
        """False with probability ``drop``: bool."""
        ...


class Global:
    """Torch's own generators: where nothing is handed in. Satisfies `Chance`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def uniform(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        return torch.rand(*shape, dtype=dtype, device=self._device)

    def normal(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        return torch.randn(*shape, dtype=dtype, device=self._device)

    def kept(self, shape: Shape, drop: float) -> Tensor:
        return torch.empty(*shape, dtype=torch.bool, device=self._device).bernoulli_(1 - drop)


class Draws:
    """Numbers of one seed. Satisfies `Chance`.

    Args:
        seed: 63 bits.
        device: where the numbers are.
        exact: whether they are drawn on the CPU in float64, so that devices and precisions agree; else on the device.

    Examples:
        >>> import torch
        >>> draws = Draws(0, torch.device("cpu"))
        >>> first = draws.normal((2,), torch.float32)
        >>> draws.again().normal((2,), torch.float32) is first
        True
    """

    def __init__(self, seed: int, device: torch.device, exact: bool = False) -> None:
        self.seed = seed
        self._device = device
        self._exact = exact
        self._generator = torch.Generator("cpu" if exact or device.type == "meta" else device)
        self._drawn: dict[tuple[Any, ...], tuple[Tensor, Fill]] = {}
        self._next = 0

    def again(self) -> Draws:
        """From the first tensor on."""
        self._next = 0
        return self

    def refill(self, seed: int) -> Draws:
        """Other numbers in all tensors so far, as a fresh `Draws` of this seed would draw them; from the first on."""
        self.seed = seed
        for (number, *_), (values, fill) in self._drawn.items():
            self._fill(number, values, fill)
        return self.again()

    def uniform(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        return self._tensor("uniform", shape, dtype, lambda values, source: values.uniform_(generator=source))

    def normal(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        return self._tensor("normal", shape, dtype, lambda values, source: values.normal_(generator=source))

    def kept(self, shape: Shape, drop: float) -> Tensor:
        return self._tensor(
            ("kept", drop), shape, torch.bool, lambda values, source: values.bernoulli_(1 - drop, generator=source)
        )

    def _tensor(self, kind: Any, shape: Shape, dtype: torch.dtype, fill: Fill) -> Tensor:
        key = (self._next, kind, tuple(shape), dtype)
        if key not in self._drawn:
            values = torch.empty(*shape, dtype=dtype, device=self._device)
            self._fill(self._next, values, fill)
            self._drawn[key] = values, fill
        self._next += 1
        return self._drawn[key][0]

    @torch.no_grad()
    def _fill(self, number: int, values: Tensor, fill: Fill) -> None:
        if values.is_meta:
            return
        self._generator.manual_seed((self.seed + number * STRIDE) % 2**63)
        if not self._exact:
            fill(values, self._generator)
            return
        drawn = torch.empty(values.shape, dtype=torch.float64 if values.is_floating_point() else values.dtype)
        fill(drawn, self._generator)
        ready = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda).copy_(drawn)
        values.copy_(ready, non_blocking=True)


def takes_draws(supernet: Any) -> bool:
    """Whether a supernet takes the keyword ``draws``, a `Chance`, and draws from nothing else."""
    return bool(getattr(supernet, "takes_draws", False))


def draws_nothing(supernet: Any) -> bool:
    """Whether a supernet says that it draws no random numbers at all."""
    return bool(getattr(supernet, "draws_nothing", False))
