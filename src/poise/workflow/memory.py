"""What is done about memory: a batch that fits is picked before a run, and running out of it is explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from poise.config import RunSettings, override
from poise.engine.events import Listener, Noted
from poise.engine.fit import available_bytes, measure
from poise.engine.search import Searcher
from poise.errors import Refused

USED = 0.9
"""The part of the free memory that a run may plan with."""


def fitting(settings: RunSettings, searcher: Searcher, listen: Listener) -> RunSettings:
    """The settings with a batch that fits: the one that is set, or else the largest that does.

    A smaller batch means more steps of noisier gradients, and batch statistics of fewer images; learning rates stay as
    they are. So its results are those of that batch size, not of the one that was set.

    Raises:
        Refused: not even a batch of 2 fits, or free memory cannot be known here.
    """
    free = available_bytes(searcher.place)
    if free is None:
        raise Refused("how much memory is free cannot be known on this machine; set search.batch_size yourself")
    wanted, largest = settings.search.batch_size, measure(searcher).largest(int(USED * free))
    if largest >= wanted:
        return settings
    if largest < 2:
        raise Refused(f"{free / 2**30:.1f} GiB are free, which not even a batch of 2 fits; use fewer channels or cells")
    listen(Noted(f"search.batch_size is {largest} instead of {wanted}: more does not fit {free / 2**30:.1f} GiB"))
    return override(settings, [("search.batch_size", largest)])


@contextmanager
def memory_explained(searcher: Searcher) -> Iterator[None]:
    """Turn running out of memory into a `Refused` that says what would fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        advice = "use a smaller search.batch_size, or fewer channels"
    else:
        return
    free = available_bytes(searcher.place)
    if free is not None:
        largest = measure(searcher).largest(int(USED * free))
        advice = f"search.batch_size={largest} fits the {free / 2**30:.1f} GiB that are free now, or use fewer channels"
    raise Refused(
        f"out of memory at search.batch_size {searcher.training.batch_size}: {advice} (--auto-batch picks it); "
        "what was checkpointed is whole"
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or on a device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error))
