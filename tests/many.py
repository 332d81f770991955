"""Several processes that compute together, as forks of this one: their imports would take longer than what they do."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT = 60
"""Seconds that a process waits for the others: a test that would hang fails."""


def together(count: int, folder: Path, work: Callable[[], Any]) -> list[Any]:
    """What ``work`` gives in each of ``count`` processes, something that torch can save; raises what one raised."""
    children = [_start(rank, count, folder, work) for rank in range(count)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * count, "\n".join(path.read_text() for path in sorted(folder.glob("error-*")))
    return [torch.load(folder / f"found-{rank}.pt", weights_only=False) for rank in range(count)]


def _start(rank: int, count: int, folder: Path, work: Callable[[], Any]) -> int:
    if child := os.fork():
        return child
    code = 1
    try:
        torch.set_num_threads(1)  # a library of threads does not survive a fork
        meeting = f"file://{folder / 'meeting'}"
        dist.init_process_group("gloo", meeting, _seconds(TIMEOUT), world_size=count, rank=rank)
        torch.save(work(), folder / f"found-{rank}.pt")
        dist.destroy_process_group()
        code = 0
    except BaseException:
        (folder / f"error-{rank}").write_text(f"process {rank}\n{traceback.format_exc()}")
    finally:
        os._exit(code)


def _seconds(count: float) -> Any:
    from datetime import timedelta

    return timedelta(seconds=count)
