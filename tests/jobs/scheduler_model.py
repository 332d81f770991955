"""The scheduler's model: 10,000 commands with failures, through the real scheduler, by a clock that is not real.

``python tests/jobs/scheduler_model.py`` prints what became of them, and what the scheduler took of a processor for
each, all that is simulated included.
"""

from __future__ import annotations

import time

from simulated import Clock, Simulated, planned, with_failures

from poise.jobs.scheduler import carry_out

COMMANDS, SLOTS, LOST = 10_000, (64, 256, 1024), 0.1


def run(slots: int) -> str:
    """One line of the table."""
    clock = Clock()
    executor = Simulated(clock, slots, with_failures(0, LOST))
    commands = planned(COMMANDS)
    begin = time.process_time()
    found = carry_out(commands, executor, clock=clock, sleep=clock.sleep)
    seconds = time.process_time() - begin
    done = sum(each.state == "done" for each in found)
    attempts = executor.started.total()
    failed = [each for each in found if each.state == "failed"]
    assert done + len(failed) == COMMANDS
    assert all(each.attempts == 3 for each in failed)
    ideal = 100 * attempts * (1 - LOST / 2) / slots
    return (
        f"| {slots:,} | {done:,} | {len(failed)} | {attempts:,} | {1e3 * seconds / COMMANDS:.2f} ms "
        f"| {clock() / 3600:.2f} h | {ideal / 3600:.2f} h |"
    )


if __name__ == "__main__":
    print("| side by side | done | failed three times | attempts | processor time of each | all take | at the least |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for slots in SLOTS:
        print(run(slots))
