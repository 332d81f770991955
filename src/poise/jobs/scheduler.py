"""Get through many commands, whatever carries them out: start what there is room for, watch, try again, give up.

A command whose worker was lost goes on from its last checkpoint, elsewhere if need be. One that has failed `TRIES`
times without getting further is reported and does not stop the others; one that was refused would be refused again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from poise.errors import Stopped
from poise.jobs.command import Command
from poise.jobs.executor import Ended, Executor, Running

PAUSE = 0.2
"""Seconds between two looks at what runs."""
PATIENCE = 120.0
"""Seconds that a command has to save where it is."""
TRIES = 3
REFUSED = 2
"""The exit code of what poise refuses."""


@dataclass(frozen=True)
class Standing:
    """Where one command stands.

    Args:
        command: which.
        state: ``waiting``, ``queued`` (started, and waits for a machine), ``running``, ``done``, ``failed``.
        attempts: how often it was started here.
        seconds: that it has worked since it was last started.
        message: why its last attempt failed.
    """

    command: Command
    state: str
    attempts: int = 0
    seconds: float = 0.0
    message: str = ""


Watcher = Callable[[Sequence[Standing]], None]


class _Attempt:
    """One attempt at one command."""

    def __init__(self, command: Command, number: int, running: Running, clock: Callable[[], float]) -> None:
        self.command, self.number, self.running = command, number, running
        self._clock = clock
        self._start = clock() if running.begun else None

    def look(self) -> tuple[Standing, Ended | None]:
        """Where it stands, and how it ended if it has."""
        ended = self.running.poll()
        if self._start is None and (self.running.begun or ended is not None):
            self._start = self._clock()
        state = "queued" if self._start is None else "running"
        seconds = 0.0 if self._start is None else self._clock() - self._start
        return Standing(self.command, state, self.number, seconds), ended


class _Tries:
    """How often each command has failed since it last got further than ever before: what is often interrupted ends, as
    long as it gets on, and what makes its worker die does not go on for ever."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self._best = {command.work: command.epochs() for command in commands}
        self._failed = dict.fromkeys(self._best, 0)

    def used_up(self, command: Command) -> bool:
        """Count a failure; whether it was the last one."""
        epochs = command.epochs()
        further = epochs > self._best[command.work]
        self._best[command.work] = max(epochs, self._best[command.work])
        self._failed[command.work] = 1 if further else self._failed[command.work] + 1
        return self._failed[command.work] >= TRIES


def carry_out(
    commands: Sequence[Command],
    executor: Executor,
    at_once: int | None = None,
    watch: Watcher = lambda standings: None,
    asked: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Standing]:
    """Carry out all commands that are not done; returns where each stands in the end.

    Args:
        commands: which; each works in a folder of its own.
        executor: what starts them.
        at_once: how many side by side at most; None: as many as there is room for.
        watch: told where everything stands, a few times a second.
        asked: whether to stop.
        clock, sleep: seconds that only go forward, and how to wait for some.

    Raises:
        Stopped: ``asked`` for it; everything that ran has saved where it was.
    """
    standings = {each.work: Standing(each, "done" if each.done() else "waiting") for each in commands}
    if len(standings) < len(commands):
        raise ValueError("two commands work in one folder")
    waiting = deque(each.command for each in standings.values() if each.state == "waiting")
    tries, running = _Tries(commands), list[_Attempt]()
    try:
        while waiting or running:
            while waiting and (at_once is None or len(running) < at_once) and executor.room(waiting[0].needs):
                command = waiting.popleft()
                number = standings[command.work].attempts + 1
                running.append(_Attempt(command, number, executor.start(command, number), clock))
            if asked():
                raise Stopped(commands[0].folder)
            sleep(PAUSE)
            for each in list(running):
                standing, ended = each.look()
                if ended is not None:
                    running.remove(each)
                    standing = _judged(standing, ended, tries)
                    if standing.state == "waiting":
                        waiting.appendleft(each.command)
                standings[each.command.work] = standing
            watch(list(standings.values()))
    finally:
        _stop(running, clock, sleep)
    return list(standings.values())


def _judged(standing: Standing, ended: Ended, tries: _Tries) -> Standing:
    """What becomes of a command that has ended so."""
    command = standing.command
    if ended.code == 0 and command.done():
        return Standing(command, "done", standing.attempts, standing.seconds)
    over = tries.used_up(command) or ended.code == REFUSED
    message = ended.message or command.last_words() or f"exit code {ended.code}"
    return Standing(command, "failed" if over else "waiting", standing.attempts, standing.seconds, message)


def _stop(running: Sequence[_Attempt], clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Ask everything that runs to save where it is, and wait for it."""
    for each in running:
        each.running.stop()
    end = clock() + PATIENCE
    left = [each for each in running if each.running.poll() is None]
    while left and clock() < end:
        sleep(PAUSE)
        left = [each for each in left if each.running.poll() is None]
    for each in left:
        each.running.kill()
