"""What carries commands out: a small protocol, which the scheduler knows, and its registry. One executor, one file."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Protocol

from poise import registries
from poise.extras import check_extra
from poise.jobs.command import Command, Needs
from poise.registry import Registry


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        code: its exit code; None: nobody knows, as its worker was lost.
        message: what is known besides.
    """

    code: int | None
    message: str = ""

    @staticmethod
    def of(code: int) -> Ended:
        """Of a process with this exit code; below 0 it is the signal that killed it."""
        return Ended(None, f"killed by {signal.Signals(-code).name}") if code < 0 else Ended(code)


class Running(Protocol):
    """A command that was started."""

    @property
    def begun(self) -> bool:
        """Whether it is at work; else it waits for a machine."""
        ...

    def poll(self) -> Ended | None:
        """How it ended; None: it has not. Does not wait. All its files are in its folder once it has ended, and the
        newest before, as far as its worker could send them."""
        ...

    def stop(self) -> None:
        """Ask it to save where it is, and to end. Does not wait."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Executor(Protocol):
    """Starts commands somewhere. Made of the text that follows its name and a colon in ``--on``."""

    def room(self, needs: Needs) -> bool:
        """Whether one more may be started now: it would run, or wait where waiting costs nothing."""
        ...

    def start(self, command: Command, attempt: int) -> Running:
        """Start it, for the ``attempt``-th time, from 1."""
        ...

    def close(self) -> None:
        """Give back what the executor holds; nothing that it started is at work any more."""
        ...


EXECUTORS: Registry[type[Executor]] = registries.EXECUTORS
LOCAL = "local"


def check_executor(on: str) -> None:
    """Raise `Refused` for what is no executor, or lacks packages. Imports none."""
    name = on.partition(":")[0]
    EXECUTORS.check(name)
    check_extra(name, f"--on {name}")


def open_executor(on: str) -> Executor:
    """The executor of ``local``, ``ray``, ``ray://HOST:PORT``, ... Raises `Refused` where it cannot be reached."""
    check_executor(on)
    name, _, where = on.partition(":")
    return EXECUTORS[name](where)  # type: ignore[call-arg]
