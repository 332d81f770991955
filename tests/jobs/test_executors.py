"""Executors by their names, and commands as processes of this machine."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.bench_support import write_plugin
from poise.cli.board import Board, left, table
from poise.cli.signals import asked_to_stop
from poise.errors import Refused
from poise.jobs import process
from poise.jobs.command import Command, Needs
from poise.jobs.executor import EXECUTORS, Ended, open_executor
from poise.jobs.local import LocalProcess
from poise.jobs.placing import Placing
from poise.jobs.process import start_process
from poise.jobs.scheduler import Standing
from poise.named import PARENT


def command(folder: Path, *words: str, **more: object) -> Command:
    return Command("darts", 3, words, folder, "work", "logs/a.log", "work/history.jsonl", **more)  # type: ignore[arg-type]


def test_executors_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(EXECUTORS) == {"local", "ray", "slurm"}
    with pytest.raises(Refused, match="unknown executor 'rai'; did you mean 'ray'"):
        open_executor("rai://head:10001")
    with pytest.raises(Refused, match="--on local is this machine; got local:8"):
        open_executor("local:8")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refused, match="--on slurm needs sbatch"):
        open_executor("slurm")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Refused, match=r"--on ray needs ray; to install: pip install 'poise\[ray\]'"):
        open_executor("ray")


def test_a_command_is_done_when_its_files_are_there(tmp_path: Path) -> None:
    given = command(tmp_path, makes=("a.json", "b.json"))
    assert given.name == "darts, seed 3"
    (tmp_path / "a.json").touch()
    assert not given.done()
    (tmp_path / "b.json").touch()
    assert given.done()
    assert (given.epochs(), given.last_words()) == (0, "")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "history.jsonl").write_text("{}\n{}\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text("first\nlast\n\n")
    assert (given.epochs(), given.last_words()) == (2, "last")


def test_a_process_gets_its_folder_threads_and_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And elsewhere no GPU that it did not ask for."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    started = []
    monkeypatch.setattr(process.subprocess, "Popen", lambda words, **more: started.append((words, more["env"])))
    for hide, gpus, visible in ((False, 0, "0,1"), (True, 0, ""), (True, 1, "0,1")):
        given = command(Path("/elsewhere"), "bench", "job", "{folder}", makes=("out/a",), needs=Needs(3, gpus))
        start_process(given, tmp_path, hide)
        words, environment = started.pop()
        assert words == [sys.executable, "-m", "poise", "bench", "job", str(tmp_path)]
        assert [environment[name] for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")] == ["3", visible]
        assert environment[PARENT] == str(os.getpid())
    assert (tmp_path / "out").is_dir(), "where its files go there is a folder"


def test_local_processes_end_with_a_code_or_are_lost(tmp_path: Path) -> None:
    def started(code: str) -> LocalProcess:
        return LocalProcess(subprocess.Popen([sys.executable, "-S", "-c", code]))

    fine, asleep, stubborn = (
        started("raise SystemExit(7)"),
        started("import time; time.sleep(60)"),
        started("import time; time.sleep(60)"),
    )
    assert asleep.poll() is None
    asleep.stop()
    stubborn.kill()
    for each in (fine, asleep):
        each.process.wait()
    assert (fine.poll(), asleep.poll(), stubborn.poll()) == (
        Ended(7), Ended(None, "killed by SIGTERM"), Ended(None, "killed by SIGKILL"),
    )  # fmt: skip


def test_a_process_stops_when_its_parent_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    for parent, gone in ((os.getppid(), False), (os.getppid() + 1, True)):
        monkeypatch.setenv(PARENT, str(parent))
        with asked_to_stop() as asked:
            assert asked() is gone
            assert PARENT not in os.environ, "it is no parent of what this process starts"
    with asked_to_stop() as asked:
        assert not asked(), "nobody's child goes on"


def test_placing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [Placing(at_once=jobs).threads for jobs in (None, 1, 2, 3, 9)] == [8, 8, 4, 2, 1]
    assert [Placing(on=on).most for on in ("local", "ray")] == [1, None]
    assert Placing(on="ray", at_once=3).most == 3
    assert Placing(on="ray", memory=5).needs("auto") == Needs(1, 0, 5)
    assert Placing(on="ray", cpus=4).needs("cuda") == Needs(4, 1, 0)
    with pytest.raises(ValueError, match="memory is shared out by ray and slurm"):
        Placing(memory=5)


def test_a_bench_on_this_machine_imports_no_engine(tmp_path: Path) -> None:
    """In a process where their import would fail, and with a contestant that takes no time."""
    code = (
        "import sys; sys.modules['ray'] = sys.modules['submitit'] = None; "
        "from poise.cli.main import main; main(sys.argv[1:])"
    )
    words = ["bench", "run", "--protocol", "smoke", "--data", "digits", "--methods", "optimum", "--seeds", "0"]
    path = os.pathsep.join((str(write_plugin(tmp_path / "plugin")), os.environ.get("PYTHONPATH", "")))
    words = [sys.executable, "-c", code, *words, "--out", str(tmp_path / "bench")]
    said = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    ).stdout
    assert "1 of 1 runs are done" in said


def standing(state: str, seconds: float = 0.0, attempts: int = 1, seed: int = 0, message: str = "") -> Standing:
    return Standing(replace(command(Path()), seed=seed), state, attempts, seconds, message)


def test_time_left() -> None:
    """By what is done on average, as many side by side as now; what is there already says nothing."""
    assert left([standing("running", 5), standing("waiting")]) is None
    assert left([standing("done", 0, attempts=0), standing("running", 5)]) is None
    assert left([standing("done", 10), standing("waiting")]) is None
    done = [standing("done", 8), standing("done", 12), standing("done", 0, attempts=0), standing("failed", 1)]
    assert left([*done, standing("running", 4), standing("running", 25), standing("waiting")]) == (6 + 0 + 10) / 2
    assert left([*done, standing("running", 4), standing("queued"), standing("waiting")]) == 26


def test_the_board_shows_what_stands_where_and_says_each_thing_once() -> None:
    text = io.StringIO()
    with Board(Console(file=text, width=200)) as board:
        again = standing("waiting", 180, 1, message="its worker was lost")
        for seen in ([again], [again], [standing("done", 60, 2)], [standing("done", 60, 2)]):
            board(seen)
    assert text.getvalue().splitlines() == [
        "tried again after 3 min 00 s: darts, seed 0: its worker was lost",
        "done after 1 min 00 s: darts, seed 0",
    ]
    with Board(Console(file=(quiet := io.StringIO()), force_terminal=True), terse=True) as board:
        board([standing("done", 60, 2)])
    assert quiet.getvalue() == ""
    shown = Console(file=(page := io.StringIO()), width=200)
    states = [
        standing("done", 60),
        standing("running", 20, seed=1),
        standing("queued", seed=2),
        standing("waiting", seed=4),
    ]
    shown.print(table(states))
    assert page.getvalue().split("\n")[3].split() == ["darts", "done", "0", "epochs,", "20", "s", "queued", "waiting"]
    assert "about 2 min 40 s left" in page.getvalue()
