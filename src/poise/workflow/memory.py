"""What is done about memory: a batch that fits is picked before a run, and running out of it is explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames

import torch

from poise.config.resolve import override
from poise.config.settings import RunSettings
from poise.engine.batch_memory import Step, available_bytes, measure
from poise.engine.events import Listener, Noted
from poise.engine.kept_memory import hand_back_freed_memory
from poise.errors import Refused
from poise.workflow.batch_statistics import ADVICE

USED = 0.9
"""The part of the free memory that a run may plan with."""

SIGNS = ("can't allocate memory", "out of memory", "bad_alloc", "could not create a memory object")
PRIMITIVES = ("could not create a primitive", "could not execute a primitive")
"""What an error says, or is, when memory ran out: torch's allocators and the C++ library; oneDNN, whose convolutions
say no more than that."""


def fitting(settings: RunSettings, step: Step, listen: Listener) -> RunSettings:
    """The settings with a batch that fits: the one that is set, or else the largest that does.

    A smaller batch means more steps of noisier gradients, and batch statistics of fewer images; learning rates stay as
    they are. So its results are those of that batch size, not of the one that was set.

    Raises:
        Refused: not even a batch of 2 fits, or free memory cannot be known here.
    """
    free = available_bytes(step.place)
    if free is None:
        raise Refused(f"how much memory is free cannot be known on this machine; set {step.setting} yourself")
    processes = step.place.processes  # each has its part of a batch, and its own memory
    largest = processes.least(measure(step).largest(int(USED * free))) * processes.count
    if largest >= step.batch_size:
        return settings
    if largest < 2:
        raise Refused(f"{_size(free)} are free, which not even a batch of 2 fits; use fewer channels or cells")
    listen(Noted(f"{step.setting} is {largest} instead of {step.batch_size}: more does not fit {_size(free)}"))
    return override(settings, [(step.setting, largest)])


@contextmanager
def memory_explained(step: Step) -> Iterator[None]:
    """Turn running out of memory into a `Refused` that says what would fit, and batch statistics of a single value,
    which a module of your own may come to in its own way, into one that says so."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise Refused(f"a layer got one value per channel at {step.setting} {step.batch_size}, but {ADVICE}") from None
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        clear_frames(error.__traceback__)  # they hold what the failed step had made so far
        hand_back_freed_memory()
    else:
        return
    raise Refused(
        f"out of memory at {step.setting} {step.batch_size}: {_advice(step)} (--auto-batch picks it); "
        "what was checkpointed is whole"
    )


def _advice(step: Step) -> str:
    """What to do, with the largest batch that fits where that can be measured."""
    free = available_bytes(step.place)
    largest = 0
    if free is not None and step.place.processes.alone:  # others may wait elsewhere, and not measure with this one
        try:
            largest = measure(step).largest(int(USED * free))
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
    if free is None or not 0 < largest < step.batch_size:
        # What is free now may be more than it was: another process may have had it.
        return f"use a smaller {step.setting}, or fewer channels"
    return f"{step.setting}={largest} fits the {_size(free)} that are free now, or use fewer channels"


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or on a device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (text in PRIMITIVES or any(sign in text for sign in SIGNS))
