"""One process per run: a lock that the system gives back when its owner ends, however it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poise.errors import Refused

NAME = ".lock"


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Inside, no other process works on this run. Where the system has no such locks, nothing is locked.

    Raises:
        Refused: another process does, and still does after ``patience`` seconds.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Refused(f"cannot write to {folder}: {error.strerror}") from None
    try:
        end = time.monotonic() + patience
        while not _taken(descriptor) and time.monotonic() < end:
            time.sleep(0.2)
        if not _taken(descriptor):
            raise Refused(
                f"another process ({_owner(descriptor)}) works on {folder}; wait for it, or choose another folder"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def worker(folder: Path) -> str | None:
    """The process that works on a run now, if one does. Touches nothing."""
    if sys.platform == "win32" or not (folder / NAME).is_file():
        return None
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _taken(descriptor) else _owner(descriptor)
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()


def _taken(descriptor: int) -> bool:
    """Whether the lock is this process's, now."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
