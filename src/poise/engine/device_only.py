"""Whether a computation stays on its device, as a step must that is captured once and then replayed without Python.

A replay does again what was launched, with the same memory and the same Python numbers. So the host must not read what
the device computes (it would wait, and decide only once), must not hand over numbers of its own (they would stay those
of the first time), and must not draw (a seed that it sets reaches no replay).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tag, Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
"""What picks by masks or by numbers: of a mask, the size of the result is read back."""

DROPOUT_RATES = ("dropout_p", "dropout")
"""What a rate is called in operations that draw only if it is above 0."""


class DeviceOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches over everything inside ``with DeviceOnly() as watch:``, backward passes included.

    ``watch.found`` tells what does not stay on the device, and where it was done: ``operation -> reason``, empty if
    nothing was found. On a CPU, where nothing is ever copied to another device, what is found is the same but for that.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, str] = {}

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        reason = obstacle(func, args, kwargs)
        if reason is not None:
            self.found.setdefault(f"{func}{_place()}", reason)
        return func(*args, **kwargs)

    def told(self) -> str:
        """The first thing found, for a person."""
        operation, reason = next(iter(self.found.items()))
        return f"{operation} {reason}"


def obstacle(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Why a replay cannot do this operation; None if it can."""
    name = func._schema.name.split("::")[1]
    if Tag.data_dependent_output in func.tags:
        return "reads numbers back from the device"
    if name in INDEXING:
        masks = args[1]
        if any(mask is not None and mask.dtype in (torch.bool, torch.uint8) for mask in masks):
            return "has a result whose size depends on the numbers"
    elif Tag.dynamic_output_shape in func.tags:
        return "has a result whose size depends on the numbers"
    if Tag.nondeterministic_seeded in func.tags and _draws(func, args, kwargs):
        return "draws from a generator"
    if name == "lift_fresh":
        return "takes numbers from Python"
    places = {values.device for values in _tensors((args, kwargs)) if values.ndim or values.device.type != "cpu"}
    wanted = kwargs.get("device")
    if len(places | ({torch.device(wanted)} if wanted is not None and places else set())) > 1:
        return "copies between devices"
    return None


def _draws(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation that may draw does: without dropout attention draws nothing."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.name in DROPOUT_RATES:
            given = args[place] if place < len(args) else kwargs.get(argument.name, argument.default_value)
            return bool(given != 0)
    return True


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _place() -> str:
    """The line, outside of torch, that asks for the operation; nothing in a backward pass of a GPU, which has no
    lines."""
    frame: FrameType | None = sys._getframe(2)
    inside = str(Path(torch.__file__).parent)
    while frame is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    return "" if frame is None else f" ({Path(frame.f_code.co_filename).name}, line {frame.f_lineno})"
