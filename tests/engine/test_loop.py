"""The loop by itself, with a trainer of one number: events, records, and going on from every step."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from engine_support import States

from poise.engine.checkpointer import Checkpointer
from poise.engine.events import EpochEnded, Event, Started, Stepped, ignore
from poise.engine.loop import Course, Record, Sums, run
from poise.errors import Refused

STEPS = 3


class Largest:
    """Measures the largest number so far."""

    def __init__(self) -> None:
        self.found = torch.zeros(())

    def update(self, outputs: Any, targets: Any) -> None:
        self.found = torch.maximum(self.found, outputs)

    def compute(self) -> dict[str, float]:
        return {"largest": float(self.found)}

    def state(self) -> dict[str, Any]:
        return {"found": self.found}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.found = state["found"]


class Counter:
    """``x ← 2x + epoch + batch``; batches are 10, 11, 12."""

    def __init__(self) -> None:
        self.x = torch.zeros((), dtype=torch.float64)
        self.closed = 0

    def begin(self, epoch: int, first: int) -> Iterator[Any]:
        self.epoch = epoch
        try:
            yield from ((10 + number, torch.ones(1)) for number in range(first, STEPS))
        finally:
            self.closed += 1

    def step(self, number: int, batch: tuple[Any, torch.Tensor], sums: Sums) -> None:
        assert batch[0] == 10 + number
        self.x = 2 * self.x + self.epoch + batch[0]
        sums.add(x=self.x, nothing=None)
        sums.meter("x", Largest).update(self.x, None)

    def record(self, sums: Sums, history: Sequence[Mapping[str, Any]]) -> Record:
        assert sums.mean("nothing") is None
        assert sums.metrics("nothing", Largest) == {}
        return {"mean": sums.mean("x"), "before": len(history), **sums.metrics("x", Largest)}

    def state(self) -> dict[str, Any]:
        return {"x": self.x}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.x = state["x"]


def counted(saver: Checkpointer, listen: Any = ignore, **more: Any) -> tuple[Counter, list[Record]]:
    trainer: Any = Counter()
    return trainer, run(trainer, Course("count", 4, STEPS, **more), listen, saver)


def plain(history: Sequence[Record]) -> list[Record]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


def test_what_is_told_and_recorded() -> None:
    heard: list[Event] = []
    trainer, history = counted(Checkpointer(), heard.append, total=9, measure=lambda: {"more": 1.0})
    assert heard[0] == Started("count", 27, 0)
    assert [event.done for event in heard if isinstance(event, Stepped)] == list(range(1, 13))
    assert [event.record for event in heard if isinstance(event, EpochEnded)] == history
    assert [list(record) for record in history] == [["epoch", "mean", "before", "x_largest", "seconds", "more"]] * 4
    assert plain(history)[0] == {"epoch": 0, "mean": (10 + 31 + 74) / 3, "before": 0, "x_largest": 74.0, "more": 1.0}
    assert [(record["epoch"], record["before"]) for record in history] == [(number, number) for number in range(4)]
    assert trainer.closed == 4, "batches are closed after each epoch"


def test_it_goes_on_from_every_step_as_if_it_had_never_stopped() -> None:
    states = States()
    trainer, history = counted(states.saver())
    assert len(states.all) == 4 * (STEPS + 1), "after every step and every epoch"
    for state in states.all:
        heard: list[Event] = []
        resumed, records = counted(Checkpointer(start=state), heard.append)
        assert torch.equal(resumed.x, trainer.x)
        assert plain(records) == plain(history)
        done = STEPS * state["epoch"] + state["step"]
        assert heard[0] == Started("count", 12, done)
        assert [event.done for event in heard if isinstance(event, Stepped)] == list(range(done + 1, 13))
    middle = random.Random(0).choice([state for state in states.all if state["step"]])
    middle["seconds"] += 1000
    _, records = counted(Checkpointer(start=middle))
    assert [record["seconds"] > 1000 for record in records] == [n == middle["epoch"] for n in range(4)]


def test_epochs_may_begin_later_and_end_sooner() -> None:
    history: list[Record] = []
    run(Counter(), Course("count", 9, STEPS, first=7, stop=lambda: len(history) == 1), ignore, Checkpointer(), history)  # type: ignore[arg-type]
    assert [record["epoch"] for record in history] == [7]
    saver = Checkpointer(start={"facts": {"history": plain(counted(Checkpointer())[1])[:2]}})
    assert [record["epoch"] for record in counted(saver)[1]] == [0, 1, 2, 3], "after those that there are"


@pytest.mark.parametrize("wrong", [{}, {"y": torch.zeros(())}])
def test_a_state_of_something_else_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="of another network"):
        counted(Checkpointer(start={"trainer": wrong}))
