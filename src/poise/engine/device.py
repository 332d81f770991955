"""Where and in which precision a run computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from poise.errors import Refused
from poise.named import check_place
from poise.supernet.processes import ALONE, Processes
from poise.supernet.trees import Tree, mapped


@dataclass(frozen=True)
class Place:
    """A device, a precision and a layout.

    `open` takes them by name: ``auto`` (the best device there is), ``cpu``, ``cuda`` or ``mps``, and ``32``, ``tf32``
    (on CUDA, products of float32 with factors rounded to 10 bits), ``64`` or ``bf16-mixed``.

    Args:
        device: where networks, and what they are given, lie.
        dtype: of weights and losses.
        channels_last: whether images and weights lie channels last, the layout that convolutions run fastest in on a
            CPU; else they stay as they are made.
        mixed: whether products are of bfloat16, everything else of ``dtype``.
        processes: those that compute together, each on a device of its own.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool = True
    mixed: bool = False
    processes: Processes = ALONE

    @staticmethod
    def open(device: str = "auto", precision: str = "32", channels_last: bool = True) -> Place:
        """A place; on CUDA channels always come first: its depthwise convolutions of float32 know no other layout, and
        copy what lies otherwise. Of processes that compute together each takes the CUDA device that is its current one.
        Raises `Refused` on an unknown name, or a device that this machine does not have."""
        check_place(device, precision)
        there = [name for name in (_DEVICES if device == "auto" else (device,)) if _is_there(name)]
        if not there:
            raise Refused(f"device {device!r} is not available here")
        processes = Processes.here()
        number = torch.cuda.current_device() if there[0] == "cuda" and not processes.alone else 0
        chosen = torch.device("cpu") if there[0] == "cpu" else torch.device(there[0], number)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
            round_products(precision == "tf32")
        dtype = torch.float64 if precision == "64" else torch.float32
        return Place(chosen, dtype, channels_last and chosen.type != "cuda", precision == "bf16-mixed", processes)

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which networks are called: what they make themselves is in this precision too."""
        if self.mixed:
            context: Any = torch.autocast(self.device.type, torch.bfloat16)
            return context
        return _made_in(self.dtype) if self.dtype is torch.float64 else nullcontext()

    def put(self, module: nn.Module) -> nn.Module:
        """The module on this device, in this precision and layout."""
        module = module.to(self.device, self.dtype)
        return module.to(memory_format=torch.channels_last) if self.channels_last else module  # type: ignore[call-overload]

    def float(self, outputs: Tree) -> Tree:
        """Outputs in a precision fit for a loss; what is no floating point number in them stays as it is."""
        return mapped(lambda values: values.to(self.dtype) if values.is_floating_point() else values, outputs)


_DEVICES = ("mps", "cuda", "cpu")
"""What ``auto`` tries, in this order."""


def _is_there(device: str) -> bool:
    """Whether this machine has it. GPUs are counted, not started: that would forbid forking."""
    if device == "cuda":
        return torch.cuda.device_count() > 0
    return device == "cpu" or torch.backends.mps.is_available()


@contextmanager
def _made_in(dtype: torch.dtype) -> Iterator[None]:
    """What is made without a dtype is made in this one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def round_products(tf32: bool) -> None:
    """Whether CUDA's products of float32 round their factors to TF32. By default torch lets convolutions round and
    matrix products not; it has one switch of each for the whole process."""
    convolutions = getattr(torch.backends.cudnn, "conv", torch.backends.cudnn)
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, convolutions)
    for switch in switches:
        if hasattr(switch, "fp32_precision"):
            switch.fp32_precision = "tf32" if tf32 else "ieee"
        else:  # before torch 2.9
            switch.allow_tf32 = tf32
