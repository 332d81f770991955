"""Random streams by name: every draw of a run comes from a generator seeded by the run's seed and what it is for.

A stream depends on nothing that happened before it, so a run that is resumed at any step draws what it would have
drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from poise.supernet.draws import Draws, draws_nothing, takes_draws
from poise.supernet.processes import ALONE, Processes, of_rows


def seed_of(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for a purpose, such as ``("order", epoch)``."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def at_stage(purpose: str, stage: int) -> tuple[str | int, ...]:
    """The purpose of what every stage of a search draws anew; in the first it is ``(purpose,)``."""
    return (purpose, "stage", stage) if stage else (purpose,)


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for a purpose."""
    return torch.Generator().manual_seed(seed_of(seed, *purpose))


def handed(
    module: Any, draws: Draws, device: torch.device, processes: Processes = ALONE, count: int = 0
) -> tuple[AbstractContextManager[None], dict[str, Any]]:
    """How a module gets its random numbers: the context and the options of a call. One that says neither that it takes
    ``draws`` nor that it draws nothing draws from torch's own generators, which then start from the draws' seed.

    Of several ``processes``, each draws its rows of what one draws for a whole batch of ``count``; from torch's own
    generators, which know of no rows, each draws something else.
    """
    if takes_draws(module):
        return nullcontext(), {"draws": of_rows(draws.again(), processes, count)}
    if draws_nothing(module):
        return nullcontext(), {}
    return seeded(seed_of(draws.seed, processes.rank) if processes.rank else draws.seed, device), {}


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's own generators (module initialisation, dropout, noise) start from ``seed``; outside, nothing
    changed."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
    else:
        with torch.random.fork_rng(devices=[device.index or 0], device_type=device.type):
            torch.manual_seed(seed)
            yield
