"""Runs as processes: asked to stop, two at once, without room on the disk, without their data."""

from __future__ import annotations

import ctypes
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults_support import (
    LONG,
    TINY,
    Command,
    Ended,
    checkpoints,
    files,
    outcome,
    owner,
    resuming,
    run,
    same,
    searching,
    stopped,
    unbroken,
)
from PIL import Image

from full import FULL
from poise.cli.main import main
from poise.engine.checkpoint import Checkpoints

ROOM = 4096
"""Bytes that a file may have where the disk is full: enough for settings and records, not for a checkpoint."""

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # numbers of prctl(2) and capabilities(7)
CAPABILITY_VERSION = 0x20080522  # of capget(2)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities are Linux's")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the search comes to if nothing disturbs it."""
    return unbroken(tmp_path_factory.mktemp("unbroken") / "run", LONG)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_resume_ends_it(number: int, expected: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with Command(searching(out, LONG), program=FULL or number == signal.SIGTERM) as command:
        assert command.until(lambda: bool(checkpoints(out)))
        assert command.tell(number)
        ended = command.ended()
    assert ended.code == 75, ended
    assert f"poise resume {out}" in ended.line
    assert not (out / "genotype.json").exists()
    again = run(resuming(out))
    assert again.code == 0, again
    same(outcome(out), expected)


def test_two_at_once_and_a_killed_owner(expected: dict[str, Any], tmp_path: Path) -> None:
    """The second is refused while the first lives; once it is killed, nothing need be cleaned up."""
    out = tmp_path / "run"
    with Command(searching(out, LONG | {"search.epochs": 1000})) as first:
        assert first.at_work(out)
        assert first.until(lambda: bool(checkpoints(out)))
        second = run(resuming(out))
        assert second.code == 2, second
        assert f"another process ({first.process.pid}) works on {out}" in second.line
        third = run([*searching(out, LONG), "--overwrite"])
        assert third.code == 2, third
        assert f"another process ({first.process.pid}) works on {out}" in third.line
        assert first.process.poll() is None, "the first is not disturbed"
        killed = owner(out)
        assert first.kill()
    assert owner(out) == killed, "the lock names a process that is gone"
    ended = run([*searching(out, LONG), "--overwrite"])
    assert ended.code == 0, ended
    same(outcome(out), expected)


def no_room() -> None:
    """Let no file grow beyond `ROOM`: writes fail as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


def test_a_full_disk(expected: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped(out, LONG)
    before = {path: path.read_bytes() for path in checkpoints(out)}
    assert min(map(len, before.values())) > ROOM
    ended = run(resuming(out), no_room)
    assert ended.code == 2, ended
    assert "cannot write" in ended.line
    assert "Traceback" not in ended.err
    assert before == {path: path.read_bytes() for path in checkpoints(out)}
    assert not list((out / "checkpoints").glob(".*")), "no half of a checkpoint stays"
    assert Checkpoints(out / "checkpoints").load(pytest.fail) is not None
    again = run(resuming(out))
    assert again.code == 0, again
    same(outcome(out), expected)


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    ended = run(searching(tmp_path / "run", TINY), no_room)
    assert ended.code == 2, ended
    assert "cannot write" in ended.line


def no_exceptions() -> None:
    """Let permissions hold for root as well: without the capability to pass them by, from now on and in every program
    from here."""
    system = ctypes.CDLL(None)
    system.prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    system.capget(header, sets)
    sets[0] &= ~(1 << CAP_DAC_OVERRIDE)  # of those in effect
    system.capset(header, sets)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Inside, nothing can be made in this folder or below it. Skips where that cannot be had."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for each in folders:
        each.chmod(0o555)
    try:
        touch = [sys.executable, "-c", f"open({str(folder / 'touched')!r}, 'w')"]
        if subprocess.run(touch, stderr=subprocess.DEVNULL, preexec_fn=no_exceptions).returncode == 0:
            pytest.skip("nothing is read-only to this user")
        yield
    finally:
        for each in folders:
            each.chmod(0o755)


@linux
@pytest.mark.parametrize("lock", [True, False], ids=["with its lock", "without it"])
def test_a_run_whose_folder_became_read_only(lock: bool, expected: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped(out, LONG)
    if not lock:
        (out / ".lock").unlink()
    before = files(out)
    with read_only(out):
        ended = run(resuming(out), no_exceptions)
    assert ended.code == 2, ended
    assert f"cannot write {'' if lock else 'to '}{out}" in ended.line
    after = files(out)
    assert {path: content for path, content in before.items() if path.name != ".lock"} == {
        path: content for path, content in after.items() if path.name != ".lock"
    }
    assert after.keys() == before.keys()
    again = run(resuming(out))
    assert again.code == 0, again
    same(outcome(out), expected)


@linux
@pytest.mark.parametrize("exists", [True, False])
def test_a_run_in_a_read_only_folder(exists: bool, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    out = parent / "run"
    (out if exists else parent).mkdir(parents=True)
    with read_only(parent):
        ended = run(searching(out, TINY), no_exceptions)
    assert ended.code == 2, ended
    assert f"cannot write to {out}" in ended.line
    assert list(tmp_path.rglob("*")) == ([parent, out] if exists else [parent])


def pictures(folder: Path) -> Path:
    """A data set of two classes."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for index in range(60):
            Image.fromarray(generator.integers(0, 256, (8, 8), np.uint8)).save(folder / name / f"{index}.png")
    return folder


def test_data_that_vanished(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "pictures"), tmp_path / "run"
    settings = LONG | {"search.images_per_half": 40, "search.epochs": 20}
    stopped(out, settings, data)
    before = files(out)
    shutil.move(data / "dog", tmp_path / "dog")
    ended = run(resuming(out))
    assert ended.code == 2, ended
    assert "poise: pictures has one class only" in ended.line
    assert files(out) == before
    shutil.move(data, tmp_path / "elsewhere")
    ended = run(resuming(out))
    assert ended.code == 2, ended
    assert str(data) in ended.line
    assert files(out) == before
    shutil.move(tmp_path / "dog", tmp_path / "elsewhere" / "dog")
    shutil.move(tmp_path / "elsewhere", data)
    assert run(resuming(out)).code == 0


@pytest.mark.parametrize("what", ["nothing", "empty", "of others", "file"])
def test_a_folder_that_is_no_run(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process: nothing of it is lost with one of its own."""
    out = tmp_path / "run"
    if what == "file":
        out.write_text("no folder")
    elif what != "nothing":
        out.mkdir()
    if what == "of others":
        (out / "notes.txt").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(resuming(out))
    ended = Ended(int(end.value.code or 0), capsys.readouterr().err)
    assert ended.code == 2, ended
    assert f"there is no run at {out}" in ended.line
    assert files(tmp_path) == before
    assert out.exists() == (what != "nothing")
