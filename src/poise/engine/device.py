"""Where and in which precision a run computes, through Lightning Fabric."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from poise.errors import Refused, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = {"32": "32-true", "64": "64-true", "bf16-mixed": "bf16-mixed"}


@dataclass(frozen=True)
class Place:
    """A device and a precision.

    Args:
        device: ``auto`` (the best one there is), ``cpu``, ``cuda`` or ``mps``.
        precision: ``32``, ``64`` or ``bf16-mixed`` (bfloat16 products, everything else in float32).
    """

    fabric: Fabric
    device: torch.device
    dtype: torch.dtype

    @staticmethod
    def open(device: str = "auto", precision: str = "32") -> Place:
        """Raises `Refused` on an unknown name, or a device that this machine does not have."""
        if device not in DEVICES:
            raise unknown("device", device, DEVICES)
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        try:
            fabric: Any = Fabric(accelerator=device, devices=1, precision=PRECISIONS[precision])  # type: ignore[arg-type]
        except (RuntimeError, ValueError) as error:
            raise Refused(f"device {device!r} is not available here ({type(error).__name__})") from None
        return Place(fabric, fabric.device, torch.float64 if precision == "64" else torch.float32)

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which networks are called."""
        context: AbstractContextManager[None] = self.fabric.autocast()
        return context

    def put(self, module: nn.Module) -> nn.Module:
        """The module on this device, in this precision, laid out channels last (the layout that convolutions run
        fastest in)."""
        return module.to(self.device, self.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def float(self, values: Tensor) -> Tensor:
        """Logits in a precision fit for a loss."""
        return values.to(self.dtype)
