"""How large a batch fits: measured on two small ones, not guessed.

What a step holds grows with the images of its batch: ``bytes = fixed + per_image · batch``. Both are measured by the
tensors that the forward pass keeps for the backward one, at batches of 2 and 4. The backward pass takes more, which
`HEADROOM` stands for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.data.batched import Batched
from poise.engine.device import Place
from poise.engine.kept_memory import freed_bytes
from poise.engine.objective import Objective
from poise.engine.searcher import Searcher
from poise.engine.settings import TrainSettings
from poise.engine.train import Forward
from poise.supernet.draws import Draws
from poise.supernet.processes import ALONE

HEADROOM = 1.3
"""A step's peak over what its forward pass keeps; 1.1 measured on the DARTS space."""

RESERVE = 64 * 2**20
"""Bytes that a step takes whatever its batch and its network: workspaces, kernels compiled for it; 20 to 40 MB
measured."""

SMALL = (2, 4)


@dataclass(frozen=True)
class Fit:
    """Bytes that a step takes: ``fixed + per_image · batch``."""

    fixed: float
    per_image: float

    def largest(self, available: int) -> int:
        """The largest batch whose step takes no more than ``available`` bytes; 0 if there is none."""
        return max(int((available - self.fixed) / self.per_image), 0)


@dataclass(frozen=True)
class Step:
    """A step of a search or of a training, as far as its memory goes.

    Args:
        setting: the name of the setting that says how many images its batch has.
        batch_size: what that setting says.
        place: device and precision.
        forward: the loss of a step of so many images. It changes nothing: it works on copies of all buffers.
        weights: the parameters, which the optimizer keeps its own numbers for.
    """

    setting: str
    batch_size: int
    place: Place
    forward: Callable[[int], Tensor]
    weights: Sequence[Tensor]


def search_step(searcher: Searcher) -> Step:
    """The step of a search."""

    def forward(count: int) -> Tensor:
        return replace(searcher.loss(*searcher.training.first(count), 0), place=place)(searcher.mixture())

    place = replace(searcher.place, processes=ALONE)  # it is the memory of one process
    weights = list(searcher.supernet.parameters())
    return Step("search.batch_size", searcher.training.batch_size, searcher.place, forward, weights)


def training_step(
    network: nn.Module, settings: TrainSettings, batches: Batched, place: Place, objective: Objective | None = None
) -> Step:
    """The step of a retraining, in its last epoch, when drop-path is at its strongest. ``network`` is moved to its
    place."""
    step = Forward(place.put(network), settings, replace(place, processes=ALONE), objective)

    def forward(count: int) -> Tensor:
        modes = [(module, module.training) for module in step.modules()]
        buffers = {name: buffer.clone() for name, buffer in step.named_buffers()}
        step.train()
        try:
            given = (*batches.first(count), settings.drop_path, Draws(0, place.device))
            _, _, total = functional_call(step, buffers, given)
        finally:
            for module, mode in modes:
                module.training = mode
        return total

    return Step("train.batch_size", settings.batch_size, place, forward, list(network.parameters()))


def measure(step: Step) -> Fit:
    """Two forward passes; nothing of the network changes."""
    small, large = (kept_bytes(step, count) for count in SMALL)
    per_image = max((large - small) / (SMALL[1] - SMALL[0]), 1.0)
    # Gradients, the optimizer's momentum, and gradients on their way from one to the other.
    moved = 3 * sum(weight.nbytes for weight in step.weights if weight.requires_grad)
    return Fit(HEADROOM * max(small - SMALL[0] * per_image, 0.0) + moved + RESERVE, HEADROOM * per_image)


def kept_bytes(step: Step, count: int) -> int:
    """Bytes that a forward pass of ``count`` images keeps, parameters aside."""
    own = {weight.untyped_storage().data_ptr() for weight in step.weights}
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss = step.forward(count)
    del loss
    return sum(kept.values())


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
    return min((value for value in (free, rest, _addresses()) if value is not None), default=None)


def _addresses() -> int | None:
    """Bytes that this process may still use, where it was given a limit (``ulimit -v``)."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return max(limit - pages * resource.getpagesize(), 0) + freed_bytes()


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
