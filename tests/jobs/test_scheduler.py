"""The scheduler with an executor that is not real: what is lost is tried again, what fails three times is reported,
nothing is lost or done twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from simulated import Attempt, Clock, Fate, Planned, Simulated, planned, with_failures

from poise.errors import Stopped
from poise.jobs.command import Command
from poise.jobs.executor import Ended
from poise.jobs.scheduler import PATIENCE, Standing, carry_out

LOST, BROKEN, REFUSED, FINE = Ended(None, "its worker was lost"), Ended(1), Ended(2), Ended(0)


def scheduled(
    fate: Fate, number: int = 1, slots: int = 4, at_once: int | None = None
) -> tuple[list[Standing], Simulated]:
    clock = Clock()
    executor = Simulated(clock, slots, fate)
    found = carry_out(planned(number), executor, at_once, clock=clock, sleep=clock.sleep)
    assert not executor.at_work
    return found, executor


def fated(*ends: tuple[Ended, int]) -> Fate:
    """The first attempt ends as the first says, after so many epochs, and so on; the last one ends well."""
    return lambda command, attempt: (10.0, *[*ends, (FINE, 10)][attempt - 1])


@pytest.mark.parametrize(("slots", "at_once", "most"), [(4, None, 4), (4, 3, 3), (2, 3, 2)])
def test_as_many_at_once_as_there_is_room_for(slots: int, at_once: int | None, most: int) -> None:
    found, executor = scheduled(fated(), 10, slots, at_once)
    assert [each.state for each in found] == ["done"] * 10
    assert executor.most == most
    assert set(executor.started.values()) == {1}
    assert [each.seconds for each in found] == pytest.approx([10] * 10, abs=0.3)


def test_what_is_done_is_not_started() -> None:
    clock = Clock()
    commands = planned(3)
    commands[1].facts["done"] = 1
    executor = Simulated(clock, 4, fated())
    found = carry_out(commands, executor, clock=clock, sleep=clock.sleep)
    assert [(each.state, each.attempts) for each in found] == [("done", 1), ("done", 0), ("done", 1)]


@pytest.mark.parametrize(
    ("ends", "state", "attempts", "message"),
    [
        ([(LOST, 0)], "done", 2, ""),
        ([(LOST, 0), (BROKEN, 0)], "done", 3, ""),
        ([(LOST, 0)] * 3, "failed", 3, "its worker was lost"),
        ([(BROKEN, 0)] * 3, "failed", 3, "its last words"),
        ([(REFUSED, 0)], "failed", 1, "its last words"),
        # Interrupted again and again, but further each time, and then no more:
        ([(LOST, 1), (LOST, 2), (LOST, 3), (LOST, 4)], "done", 5, ""),
        ([(LOST, 1), (LOST, 2), (LOST, 2), (LOST, 1)], "failed", 4, "its worker was lost"),
    ],
)
def test_what_fails_is_tried_three_times(
    ends: Sequence[tuple[Ended, int]], state: str, attempts: int, message: str
) -> None:
    ((first, *others), executor) = scheduled(
        lambda command, attempt: fated(*(ends if command.seed == 0 else ()))(command, attempt), 6
    )
    assert (first.state, first.attempts, first.message) == (state, attempts, message)
    assert [each.state for each in others] == ["done"] * 5, "it stops no other"
    assert executor.started.total() == attempts + 5


def test_what_ends_well_without_its_files_is_not_done() -> None:
    class Forgetful(Planned):
        def done(self) -> bool:
            return False

    clock = Clock()
    executor = Simulated(clock, 1, fated(*[(FINE, 0)] * 3))
    (found,) = carry_out(
        [Forgetful("darts", 0, (), Path(), "seed-0", "", "")], executor, clock=clock, sleep=clock.sleep
    )
    assert (found.state, found.attempts) == ("failed", 3)


def test_what_ends_badly_with_its_files_is_not_done_either() -> None:
    class Early(Planned):
        def done(self) -> bool:
            return self.epochs() > 0

    clock = Clock()
    executor = Simulated(clock, 1, fated((REFUSED, 10)))
    early = Early("darts", 0, (), Path(), "seed-0", "", "")
    (found,) = carry_out([early], executor, clock=clock, sleep=clock.sleep)
    assert (found.state, found.message) == ("failed", "its last words")


def test_a_stop_asks_everything_that_runs_to_save_and_starts_nothing() -> None:
    clock = Clock()
    executor = Simulated(clock, 4, lambda command, attempt: (1000.0, FINE, 10))
    with pytest.raises(Stopped):
        carry_out(planned(10), executor, asked=lambda: clock() > 5, clock=clock, sleep=lambda s: advance(clock, s))
    assert [(each.asked, each.killed) for each in executor.attempts.values()] == [(True, False)] * 4
    assert clock() < 6


def advance(clock: Clock, seconds: float) -> None:
    clock.now += seconds


def test_what_does_not_save_in_time_is_killed_and_so_it_is_after_an_error() -> None:
    class Deaf(Attempt):
        def poll(self) -> Ended | None:
            return None

    clock = Clock()
    executor = Simulated(clock, 4, lambda command, attempt: (1000.0, FINE, 10))

    def watch(standings: Sequence[Standing]) -> None:
        if clock() > 5:
            executor.attempts["seed-0"].__class__ = Deaf
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        carry_out(planned(2), executor, watch=watch, clock=clock, sleep=lambda s: advance(clock, s))
    assert [each.killed for each in executor.attempts.values()] == [True, False]
    assert PATIENCE < clock() < PATIENCE + 6


def test_what_waits_for_a_machine_does_not_work_yet() -> None:
    clock, seen = Clock(), list[tuple[str, float]]()

    def watch(standings: Sequence[Standing]) -> None:
        executor.attempts["seed-0"].begun = clock() > 50
        seen.append((standings[0].state, standings[0].seconds))

    class Queueing(Simulated):
        def start(self, command: Command, attempt: int) -> Attempt:
            found = super().start(command, attempt)
            found.begun = False
            return found

    executor = Queueing(clock, 1, lambda command, attempt: (60.0, FINE, 10))
    (found,) = carry_out(planned(1), executor, watch=watch, clock=clock, sleep=lambda s: advance(clock, s))
    assert seen[0] == ("queued", 0.0)
    assert found.state == "done"
    assert 9 < found.seconds < 11


def test_ten_thousand_with_failures() -> None:
    """A tenth of all attempts is lost: nothing is lost or done twice; what failed did so three times."""
    found, executor = scheduled(with_failures(0, 0.1), 10_000, 64)
    failed = [each for each in found if each.state == "failed"]
    assert {each.state for each in found} == {"done", "failed"}
    assert all(each.attempts == 3 for each in failed)
    assert 0 < len(failed) < 40, "about one in 1,000"
    assert executor.most == 64
    assert executor.started.total() == sum(each.attempts for each in found)
