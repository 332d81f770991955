"""The lock of a run: refusals that name its owner, and an end of it however the owner ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from poise.engine.lock import NAME, locked, worker
from poise.errors import Refused

HOLD = """
import sys, time
from pathlib import Path
from poise.engine.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def other(folder: Path, seconds: float = 600) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    script = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_refusal_names_the_owner_and_leaves_it_alone(tmp_path: Path) -> None:
    with other(tmp_path) as process:
        for _ in range(2):
            with pytest.raises(Refused, match=rf"^another process \({process.pid}\) works on {tmp_path}; wait for it"):
                locked(tmp_path).__enter__()
            assert worker(tmp_path) == str(process.pid)
        process.kill()
        process.wait()
        assert worker(tmp_path) is None, "a killed process leaves no lock behind"
        assert (tmp_path / NAME).read_text() == str(process.pid), "asking changes nothing"
        with locked(tmp_path):
            assert worker(tmp_path) == str(os.getpid())
    assert worker(tmp_path) is None


def test_patience_waits_for_the_owner_to_end(tmp_path: Path) -> None:
    with other(tmp_path, 0.5), locked(tmp_path, patience=60):
        assert worker(tmp_path) == str(os.getpid())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_forked_processes_neither_end_the_lock_nor_keep_it(tmp_path: Path) -> None:
    """Those that read images are forked while the lock is held; some end sooner than their run, some later."""
    with locked(tmp_path):
        if not (short := os.fork()):
            os._exit(0)
        os.waitpid(short, 0)
        assert worker(tmp_path) == str(os.getpid())
        if not (long := os.fork()):
            time.sleep(600)
            os._exit(0)
    try:
        assert worker(tmp_path) is None
    finally:
        os.kill(long, 9)
        os.waitpid(long, 0)


def test_a_lock_that_cannot_be_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match=rf"^cannot write to {tmp_path / 'file'}: File exists$"):
        locked(tmp_path / "file").__enter__()
    (tmp_path / "run" / NAME).mkdir(parents=True)
    with pytest.raises(Refused, match=r"^cannot write to .*run: Is a directory$"):
        locked(tmp_path / "run").__enter__()
    assert worker(tmp_path) is None, "no lock, no owner"
    assert not (tmp_path / NAME).exists()
