"""A command on several devices: either its processes were started together, by torchrun, Slurm or MPI, or it starts
them itself, on this machine. The first one speaks."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from poise.cli.console import console
from poise.cli.signals import ASKING
from poise.errors import Echoed, Lost, Refused, Stopped, printable
from poise.named import PARENT, TIMEOUT, rank_here, started_together

LOOK = 0.2
"""Seconds between two looks at the processes."""


@contextmanager
def together(devices: int | None, timeout: float = TIMEOUT) -> Iterator[bool]:
    """Inside, this process may be one of several that compute together; whether it is the one that speaks. Where there
    are to be ``devices`` and they were not started yet, it starts them, waits for them, and exits as they did."""
    if devices is not None and devices < 1:
        raise Refused(f"--devices is {devices}, expected at least 1")
    if not timeout > 0:
        raise Refused(f"--timeout is {timeout:g}, expected more than 0 seconds")
    started = started_together()
    if devices is not None and devices > 1 and not started:
        raise typer.Exit(launch(devices))
    if not started:
        yield True
        return
    from poise.engine.joining import joined

    with joined(timeout) as processes:
        if devices is not None and devices != processes.count:
            raise Refused(f"--devices is {devices}, but {processes.count} processes were started; leave it out")
        console.quiet = not processes.first
        yield processes.first


def told(error: Exception, code: int) -> int:
    """Say on stderr what went wrong, unless another process says it: what the first one refuses or stops at, all do.
    Returns the exit code: where another one says it, that is the other's to give."""
    rank = rank_here()
    if rank == 0:
        print(f"poise: {printable(str(error))}", file=sys.stderr)
    elif isinstance(error, Lost):
        return code
    elif isinstance(error, (Echoed, Stopped)) or getattr(error, "alike", not _joined()):
        return 0
    else:
        print(f"poise: process {rank}: {printable(str(error))}", file=sys.stderr)
    return code


def _joined() -> bool:
    """Whether this process has found the others; before, all of them refuse the same."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.distributed.is_initialized())


def launch(devices: int) -> int:
    """Run this command in so many processes on this machine; returns the exit code. Asked to stop, it asks them."""
    import torch.distributed as dist
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes

    from poise.jobs.placing import threads_each

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    store: Any = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    threads = str(threads_each(devices, os.cpu_count() or 1))
    common = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices), "TORCHELASTIC_RUN_ID": "poise", "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads), PARENT: str(os.getpid()),
    }  # fmt: skip
    ranks = range(devices)
    with tempfile.TemporaryDirectory() as logs:
        running = start_processes(
            "poise", sys.executable, dict.fromkeys(ranks, ("-m", "poise", *sys.argv[1:])),
            {rank: {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in ranks}, DefaultLogsSpecs(logs),
        )  # fmt: skip

        def forward(number: int, frame: object) -> None:
            for process in running.pids().values():
                with suppress(ProcessLookupError):
                    os.kill(process, number)

        before = {number: signal.signal(number, forward) for number in ASKING}
        try:
            while (found := running.wait(LOOK, LOOK)) is None:
                pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            running.close()
    if not found.failures:
        return 0
    # One that was killed explains the others; who is left when one fails gets a SIGTERM.
    first = min(
        found.failures.values(),
        key=lambda failure: (failure.exitcode == -signal.SIGTERM, failure.exitcode > 0, failure.timestamp),
    )
    if first.exitcode > 0:
        return int(first.exitcode)
    name = signal.Signals(-first.exitcode).name
    print(f"poise: process {first.local_rank} of {devices} was ended by {name}", file=sys.stderr)
    return 128 - first.exitcode
