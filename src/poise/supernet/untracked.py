"""Calls in training mode that leave running statistics as they are.

A batch normalisation of torch's own in training mode uses the batch's statistics, and reads no buffer: it only needs to
be told not to update them, as by its ``track_running_stats``. Nothing is copied for it: a DARTS supernet has 2,800 such
buffers. Whatever else holds buffers may do anything with them, and is handed copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from poise.supernet.global_norm import GlobalNorm

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
TELLING = (_BatchNorm.forward, GlobalNorm.forward)
"""Forward passes that go by ``track_running_stats``."""


@contextmanager
def untracked(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside, batch normalisations that train do not update their statistics; afterwards they do as before. Gives
    copies of all other buffers, by name, for `torch.func.functional_call`."""
    copies: dict[str, Tensor] = {}
    tracking = []
    for path, part in module.named_modules():
        tells = isinstance(part, _BatchNorm) and type(part).forward in TELLING
        if tells and part.training and part.track_running_stats:
            tracking.append(part)
        for name, buffer in part.named_buffers(recurse=False):
            if not (tells and name in STATISTICS):
                copies[f"{path}.{name}" if path else name] = buffer.clone()
    try:
        for part in tracking:
            part.track_running_stats = False
        yield copies
    finally:
        for part in tracking:
            part.track_running_stats = True
