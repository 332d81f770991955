"""One process per run: a lock that the system gives back when its owner ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from poise.errors import Refused

NAME = ".lock"


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Inside, no other process works on this run.

    Raises:
        Refused: another process does, and still does after ``patience`` seconds; or the folder cannot be written to,
            or not be locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _lock(folder, on_acquired=_sign).acquire(timeout=patience)
    except Timeout:
        raise Refused(
            f"another process ({_owner(folder)}) works on {folder}; wait for it, or choose another folder"
        ) from None
    except OSError as error:
        raise Refused(f"cannot write to {folder}: {error.strerror or error}") from None
    with held:
        yield


def worker(folder: Path) -> str | None:
    """The process that works on a run now, if one does. Changes nothing."""
    if not (folder / NAME).is_file():
        return None
    try:
        with _lock(folder).acquire(blocking=False):
            return None
    except Timeout:
        return _owner(folder)
    except OSError:
        return None


def _lock(folder: Path, on_acquired: Callable[[int], None] | None = None) -> FileLock:
    """Never the library's substitute for systems without locks: a killed process would leave it behind."""
    return FileLock(folder / NAME, fallback_to_soft=False, on_acquired=on_acquired)


def _sign(descriptor: int) -> None:
    """Leave this process's id in the lock's file, for whoever is refused."""
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode("ascii"))


def _owner(folder: Path) -> str:
    try:
        return (folder / NAME).read_text("ascii", "replace").strip()[:32]
    except OSError:  # Windows lets nobody else read it
        return "of unknown id"
