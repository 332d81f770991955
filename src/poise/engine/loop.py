"""The loop of a search, a selection's tuning and every retraining: epochs, steps, records and checkpoints.

What differs between them is a `Trainer`. What is saved is ``trainer``, its own state, and where its epoch stands:
``epoch``, ``step``, ``seconds`` and ``sums``. The saver adds the facts of the whole work, such as its history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from poise.data.batched import Passing
from poise.engine.checkpoint import State
from poise.engine.checkpointer import Checkpointer
from poise.engine.events import EpochEnded, Listener, Started, Stepped
from poise.engine.objective import Meter
from poise.errors import Refused

Record = dict[str, Any]


@dataclass
class Sums:
    """What the steps of an epoch measured, kept on the device so that no step waits for it.

    Args:
        values: name -> the scalar of each step.
        meters: name -> what adds batches up.
        saved: the states of meters that a checkpoint had, until they are asked for.
    """

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(state: State) -> Sums:
        """Those that gave a state."""
        values = {name: list(found.unbind()) for name, found in state.get("values", {}).items()}
        return Sums(values, saved=dict(state.get("meters", {})))

    def meter(self, name: str, fresh: Callable[[], Meter]) -> Meter:
        """The meter of this name; at first a fresh one."""
        if name not in self.meters:
            self.meters[name] = fresh()
            if name in self.saved:
                self.meters[name].restore(self.saved.pop(name))
        return self.meters[name]

    def metrics(self, name: str, fresh: Callable[[], Meter]) -> dict[str, float]:
        """What the meter of this name came to, as ``name_metric``; nothing if there is none."""
        known = name in self.meters or name in self.saved  # where an epoch is gone on with that only lacks its record
        found = self.meter(name, fresh).compute() if known else {}
        return {f"{name}_{metric}": value for metric, value in found.items()}

    def add(self, **values: Tensor | None) -> None:
        for name, value in values.items():
            if value is not None:
                self.values.setdefault(name, []).append(value.detach())

    def steps(self, name: str) -> Tensor:
        """The scalars of one name: ``[steps]``."""
        found = self.values[name]
        return torch.stack([value.to(found[-1].device) for value in found])  # those of a checkpoint lie on the CPU

    def mean(self, name: str) -> float | None:
        """The mean over the steps, each as heavy as its ``NAME_weight``, if there is one; None if there is no step."""
        if name not in self.values:
            return None
        found = self.steps(name).cpu().double()
        if f"{name}_weight" not in self.values:
            return float(found.mean())
        weights = self.steps(f"{name}_weight").cpu().double()
        return float((found * weights).sum() / weights.sum()) if weights.any() else 0.0

    def state(self) -> State:
        """Nested dicts of tensors; `of` takes them up."""
        meters = {name: meter.state() for name, meter in self.meters.items()}
        return {"values": {name: self.steps(name) for name in self.values}, "meters": {**self.saved, **meters}}


class Trainer(Protocol):
    """Something that is trained, and how. Its state is nested dicts of everything that moves; random streams do not,
    they go by name."""

    def begin(self, epoch: int, first: int) -> Passing:
        """Get ready for an epoch; its batches, from number ``first`` on."""
        ...

    def step(self, number: int, batch: tuple[Any, Tensor], sums: Sums) -> None:
        """Train on batch ``number`` of the epoch."""
        ...

    def record(self, sums: Sums, history: Sequence[Mapping[str, Any]]) -> Record:
        """What there is to say of the epoch that ends; ``history`` has the records before it."""
        ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


@dataclass(frozen=True)
class Course:
    """The epochs that a loop runs, counted on from whatever came before.

    Args:
        stage: what events call it.
        end: the number after that of its last epoch.
        steps: of an epoch.
        first: the number of its first epoch; None: as many as the history has records.
        total: the epochs of the whole work, for who waits; None: ``end``.
        stop: whether to stop before the next epoch.
        measure: measures more after an epoch, for its record; its time does not count as the epoch's.
    """

    stage: str
    end: int
    steps: int
    first: int | None = None
    total: int | None = None
    stop: Callable[[], bool] = lambda: False
    measure: Callable[[], Mapping[str, Any]] = dict


def run(
    trainer: Trainer, course: Course, listen: Listener, saver: Checkpointer, history: list[Record] | None = None
) -> list[Record]:
    """Run the epochs of the course, or those after the saver's start; returns the history, the saver's if None is
    given, with a record added for each."""
    history = saver.history if history is None else history
    start = saver.take()
    if "trainer" in start:
        take_up(trainer.restore, start["trainer"])
    epoch = start.get("epoch", len(history) if course.first is None else course.first)
    step, spent = start.get("step", 0), start.get("seconds", 0.0)
    sums = Sums.of(start.get("sums", {}))

    def state() -> State:
        now = {"epoch": epoch, "step": step, "seconds": time.perf_counter() - began if step else 0.0}
        return {"trainer": trainer.state(), **now, "sums": sums.state()}

    total = course.end if course.total is None else course.total
    listen(Started(course.stage, total * course.steps, epoch * course.steps + step))
    while epoch < course.end and not course.stop():
        began = time.perf_counter() - spent
        with closing(trainer.begin(epoch, step)) as batches:
            for number, batch in enumerate(batches, start=step):
                trainer.step(number, batch, sums)
                step = number + 1
                listen(Stepped(course.stage, epoch * course.steps + step))
                saver.visit(state)
        record = {"epoch": epoch, **trainer.record(sums, history), "seconds": time.perf_counter() - began}
        history.append({**record, **course.measure()})
        listen(EpochEnded(course.stage, history[-1]))
        epoch, step, spent, sums = epoch + 1, 0, 0.0, Sums()
        saver.visit(state, boundary=True)
    return history


def take_up(restore: Callable[[State], None], state: State) -> None:
    """Restore a trainer. Raises `Refused` if the state is of something else."""
    try:
        restore(state)
    except (KeyError, RuntimeError):
        raise Refused("the checkpoint is of another network than that of the run's configuration or module") from None
