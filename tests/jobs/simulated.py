"""An executor that carries nothing out, and a clock that is not real: commands end when a random stream says so."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from poise.jobs.command import Command, Needs
from poise.jobs.executor import Ended


class Clock:
    """Seconds that go on when somebody sleeps: to the next thing that happens, if that is later."""

    def __init__(self) -> None:
        self.now = 0.0
        self.coming: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        while self.coming and self.coming[0] <= self.now:
            heapq.heappop(self.coming)
        if self.coming:
            self.now = max(self.now, heapq.heappop(self.coming))


@dataclass(frozen=True)
class Planned(Command):
    """A command whose files are facts of the simulation."""

    facts: dict[str, int] = field(default_factory=dict, compare=False)

    def done(self) -> bool:
        return bool(self.facts.get("done"))

    def epochs(self) -> int:
        return self.facts.get("epochs", 0)

    def last_words(self) -> str:
        return "its last words"


def planned(number: int) -> list[Planned]:
    """So many commands."""
    return [Planned("darts", seed, (), Path(), f"seed-{seed}", "", "", facts={}) for seed in range(number)]


@dataclass
class Attempt:
    """One attempt: it ends at a time, and so."""

    command: Planned
    clock: Clock
    end: float
    ended: Ended
    epochs: int = 0
    begun: bool = True
    reported: bool = False
    asked: bool = False
    killed: bool = False

    def poll(self) -> Ended | None:
        assert not self.reported, "nobody asks after an end again"
        if self.asked:
            return Ended(75)
        if self.clock() < self.end:
            return None
        self.reported = True
        self.command.facts["epochs"] = max(self.command.epochs(), self.epochs)
        if self.ended.code == 0:
            self.command.facts["done"] = 1
        return self.ended

    def stop(self) -> None:
        self.asked = True

    def kill(self) -> None:
        self.killed = True


Fate = Callable[[Planned, int], tuple[float, Ended, int]]
"""(command, attempt) -> after how many seconds it ends, how, and how many epochs lie behind it then."""


class Simulated:
    """An executor of some slots."""

    def __init__(self, clock: Clock, slots: int, fate: Fate) -> None:
        self.clock, self.slots, self.fate = clock, slots, fate
        self.attempts: dict[str, Attempt] = {}
        self.started: Counter[str] = Counter()
        self.most = 0

    def room(self, needs: Needs) -> bool:
        return len(self.at_work) < self.slots

    @property
    def at_work(self) -> list[Attempt]:
        self.attempts = {work: each for work, each in self.attempts.items() if not each.reported}
        return list(self.attempts.values())

    def start(self, command: Command, attempt: int) -> Attempt:
        assert isinstance(command, Planned)
        assert not command.done(), "done twice"
        assert command.work not in self.attempts or self.attempts[command.work].reported, "at work twice"
        self.started[command.work] += 1
        assert attempt == self.started[command.work]
        seconds, ended, epochs = self.fate(command, attempt)
        found = self.attempts[command.work] = Attempt(command, self.clock, self.clock() + seconds, ended, epochs)
        heapq.heappush(self.clock.coming, found.end)
        self.most = max(self.most, len(self.attempts))
        return found

    def close(self) -> None:
        pass


def with_failures(seed: int, share: float) -> Fate:
    """Commands of 50 to 150 seconds, of which a share is lost in the middle, each time anew."""
    draws = random.Random(seed)

    def fate(command: Planned, attempt: int) -> tuple[float, Ended, int]:
        seconds = draws.uniform(50, 150)
        if draws.random() < share:
            return seconds * draws.random(), Ended(None, "its worker was lost"), 0
        return seconds, Ended(0), 10

    return fate
