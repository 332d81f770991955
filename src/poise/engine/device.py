"""Where and in which precision a run computes, through Lightning Fabric."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from poise.errors import Refused
from poise.named import check_place
from poise.supernet.trees import Tree, mapped

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_FABRIC = {"32": "32-true", "tf32": "32-true", "64": "64-true", "bf16-mixed": "bf16-mixed"}


@dataclass(frozen=True)
class Place:
    """A device, a precision and a layout.

    Args:
        device: ``auto`` (the best one there is), ``cpu``, ``cuda`` or ``mps``.
        precision: ``32``, ``tf32`` (on CUDA, products of float32 with factors rounded to 10 bits), ``64`` or
            ``bf16-mixed`` (bfloat16 products, everything else in float32).
        channels_last: whether images and weights lie channels last, the layout that convolutions run fastest in on a
            CPU; else they stay as they are made.
    """

    fabric: Fabric
    device: torch.device
    dtype: torch.dtype
    channels_last: bool = True

    @staticmethod
    def open(device: str = "auto", precision: str = "32", channels_last: bool = True) -> Place:
        """A place; on CUDA channels always come first: its depthwise convolutions of float32 know no other layout, and
        copy what lies otherwise. Raises `Refused` on an unknown name, or a device that this machine does not have."""
        check_place(device, precision)
        from lightning_fabric import Fabric  # as long as torch itself takes to import

        try:
            fabric: Any = Fabric(accelerator=device, devices=1, precision=_FABRIC[precision])  # type: ignore[arg-type]
        except (RuntimeError, ValueError) as error:
            raise Refused(f"device {device!r} is not available here ({type(error).__name__})") from None
        if fabric.device.type == "cuda":
            round_products(precision == "tf32")
        dtype = torch.float64 if precision == "64" else torch.float32
        return Place(fabric, fabric.device, dtype, channels_last and fabric.device.type != "cuda")

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which networks are called."""
        context: AbstractContextManager[None] = self.fabric.autocast()
        return context

    def put(self, module: nn.Module) -> nn.Module:
        """The module on this device, in this precision and layout."""
        module = module.to(self.device, self.dtype)
        return module.to(memory_format=torch.channels_last) if self.channels_last else module  # type: ignore[call-overload]

    def float(self, outputs: Tree) -> Tree:
        """Outputs in a precision fit for a loss; what is no floating point number in them stays as it is."""
        return mapped(lambda values: values.to(self.dtype) if values.is_floating_point() else values, outputs)


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
