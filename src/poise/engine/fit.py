"""How large a batch fits: measured on two small ones, not guessed.

What a step holds grows with the images of its batch: ``bytes = fixed + per_image · batch``. Both are measured by the
tensors that the forward pass keeps for the backward one, at batches of 2 and 4. The backward pass takes more, which
`HEADROOM` stands for.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from poise.engine.device import Place
from poise.engine.loss import BatchLoss
from poise.engine.search import Searcher

HEADROOM = 1.3
"""A step's peak over what its forward pass keeps; 1.1 measured on the DARTS space."""

SMALL = (2, 4)


@dataclass(frozen=True)
class Fit:
    """Bytes that a step takes: ``fixed + per_image · batch``."""

    fixed: float
    per_image: float

    def largest(self, available: int) -> int:
        """The largest batch whose step takes no more than ``available`` bytes; 0 if there is none."""
        return max(int((available - self.fixed) / self.per_image), 0)


def measure(searcher: Searcher) -> Fit:
    """Two forward passes; nothing of the searcher changes."""
    small, large = (_kept(searcher, count) for count in SMALL)
    per_image = max((large - small) / (SMALL[1] - SMALL[0]), 1.0)
    weights = sum(weight.nbytes for weight in searcher.weights.values())
    return Fit(HEADROOM * max(small - SMALL[0] * per_image, 0.0) + 3 * weights, HEADROOM * per_image)


def available_bytes(place: Place) -> int | None:
    """Memory that is free where the run computes; None where that cannot be known."""
    if place.device.type == "cuda":
        return int(torch.cuda.mem_get_info(place.device)[0])
    if place.device.type != "cpu" or not sys.platform.startswith("linux"):
        return None
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    rest = None if limit is None or used is None else limit - used
    return min((value for value in (free, rest) if value is not None), default=None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _kept(searcher: Searcher, count: int) -> int:
    """Bytes that a forward pass of ``count`` images keeps, parameters aside."""
    own = {weight.untyped_storage().data_ptr() for weight in searcher.supernet.parameters()}
    kept: dict[int, int] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    images, labels = next(searcher.training.ordered())
    few = images[:count].contiguous(memory_format=torch.channels_last)
    loss = BatchLoss(searcher.supernet, few, labels[:count], 0, searcher.place)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        value = loss(searcher.mixture())
    del value
    return sum(kept.values())
