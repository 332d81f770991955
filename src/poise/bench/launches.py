"""How many kernels a computation launches, counted by watching its operations: no GPU is needed, and no data either
(tensors may lie on the meta device).

The convention is that of CUDA's library kernels. Views, ``detach``, ``empty`` and the like launch nothing; the backward
pass of a convolution launches one kernel per gradient that it computes; a batch normalisation two, and so its backward
pass; an operation on lists of tensors (``_foreach_*``, ``_fused_*``) one for as many tensors as fit into a kernel's
arguments, if all of them lie alike in memory, else one per tensor. Everything else counts one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TENSORS_PER_LAUNCH = (110, 64, 48, 36, 30)
"""How many tensors one kernel takes from each of 1 to 5 lists (``MultiTensorApply.cuh``; CUDA 13 takes more)."""

SMALL = 64 * 1024
"""Bytes below which a kernel computes nothing worth its launch."""

UNCOUNTED = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "_unsafe_view", "is_same_size")
"""What launches nothing besides views."""

BATCH_NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_batch_norm_with_update",
    "cudnn_batch_norm",
    "miopen_batch_norm",
)


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the kernels of everything inside ``with Launches() as found:``.

    ``found.kernels`` is their number, ``found.small`` that of those which read and write less than `SMALL` bytes,
    ``found.bytes`` what all of them read and write, ``found.of`` the kernels of each operation by its name.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels = self.small = self.bytes = 0
        self.of: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        kernels = launches(func, args)
        if kernels:
            size = sum(map(stored_bytes, _tensors((args, kwargs, out))))
            self.kernels += kernels
            self.small += kernels if size < SMALL * kernels else 0
            self.bytes += size
            self.of[_name(func)] += kernels
        return out


def launches(func: OpOverload, args: tuple[Any, ...]) -> int:
    """The kernels of one operation."""
    name = _name(func)
    if func.is_view or name in UNCOUNTED or func.namespace == "profiler":
        return 0
    if name == "convolution_backward":
        return sum(args[-1])
    if name.removesuffix("_backward") in BATCH_NORMS:
        return 2
    if "foreach" in name or name.startswith("_fused_"):
        lists = [
            given for argument, given in zip(func._schema.arguments, args, strict=False) if _counts(argument, given)
        ]
        if lists:
            return _launches_of_lists(lists, in_place=name.endswith("_"))
    return 1


def _counts(argument: Any, given: Any) -> bool:
    """Whether an argument is a list of tensors that takes room among a kernel's arguments; counters of steps do not."""
    tensors = isinstance(given, list | tuple) and bool(given) and isinstance(given[0], Tensor)
    return tensors and argument.name != "state_steps"


def _launches_of_lists(lists: Sequence[Sequence[Tensor]], in_place: bool) -> int:
    """Tensors that belong together but lie differently in memory are taken one by one, with all others of their lists:
    that is the slow path of CUDA's library."""
    alike = all(each.stride() == together[0].stride() for together in zip(*lists, strict=True) for each in together)
    if not alike:
        return len(lists[0])
    depth = min(len(lists) + (not in_place), len(TENSORS_PER_LAUNCH))  # results are a list of their own
    return math.ceil(len(lists[0]) / TENSORS_PER_LAUNCH[depth - 1])


def stored_bytes(values: Tensor) -> int:
    """Bytes that a tensor takes in memory; what is expanded counts once."""
    parts = zip(values.shape, values.stride(), strict=True)
    return math.prod(size if stride else min(size, 1) for size, stride in parts) * values.element_size()


def _name(func: OpOverload) -> str:
    return func._schema.name.split("::")[1]


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
