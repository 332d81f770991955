"""``make gpu`` on a CPU: every part of it is run, and what it does where things are missing."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def check() -> ModuleType:
    """``tools/gpu_check.py`` as a module."""
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "tools" / "gpu_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forked(command: Sequence[str], log: Path, seconds: float, **more: str) -> int:
    """Stands for ``run``: a fork of this process, which has torch and the rest."""
    child = os.fork()
    if child == 0:
        code: Any = 1
        try:
            with log.open("w", encoding="utf-8") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            os.chdir(ROOT)
            os.environ.update(more)
            torch.set_num_threads(1)
            sys.path.insert(0, str(ROOT / "tools"))  # as Python does for a file that it runs
            module, sys.argv = command[0] == "-m", list(command[command[0] == "-m" :])
            (runpy.run_module if module else runpy.run_path)(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_all_of_it_on_a_cpu(check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "run", forked)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--device", "cpu", "--tiny", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        check.main()
    assert ended.value.code == 0, "".join(log.read_text(encoding="utf-8")[-2000:] for log in tmp_path.glob("*.txt"))
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["device"] == "cpu"
    assert summary["tests"]["passed"] > 0
    assert [aim["what"] for aim in summary["speed"]["aims"]][-1] == "NAS-Bench-201: minutes of a search"
    assert summary["retrain"]["bf16-mixed, captured"]["kernels"] > 100
    assert summary["retrain"]["32, launched"]["hours"] > 0
    assert summary["search"]["epochs"] == 2
    assert 80 < summary["search"]["last"]["CIFAR-10"] < 95, "a cell of the benchmark, and its accuracy there"
    written = {"tests.txt", "speed-nasbench201-32.json", "speed-nasbench201-32.txt", "search.txt"}
    assert written <= {file.name for file in tmp_path.iterdir()}


def test_a_part_that_takes_too_long_is_ended(check: ModuleType, tmp_path: Path) -> None:
    code = check.run(["-c", "import time; print('begun'); time.sleep(60)"], tmp_path / "log.txt", 2.0)
    assert code == 124
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "begun\n"


def test_what_was_aimed_at_is_read_from_the_tables(check: ModuleType) -> None:
    def row(seconds: float, peak_mb: float | None = None) -> dict[str, Any]:
        return {"seconds": seconds, "ratio": 2.0, "peak_mb": peak_mb}

    tables = {
        "darts 32": {
            "darts step, textbook": row(0.3, 900.0),
            "darts step, poise": row(0.03),
            "darts step, stacked": row(0.06, 300.0),
            "sdarts-adv step, poise": row(0.1),
        },
        "darts bf16-mixed": {"darts step, poise": row(0.02)},
    }
    seen = {aim["what"]: (aim["aim"], aim["seen"]) for aim in check.aims(tables)}
    assert seen == {
        "DARTS, float32: textbook's step ÷ ours": ("at least 6.0", 10.0),
        "DARTS: step in float32 ÷ bf16": ("at least 1.5", 1.5),
        "DARTS: minutes of a search": ("under 20.0", 9.75),
        "SDARTS-ADV ÷ first order": ("at most 4.0", 2.0),
        "DARTS: peak memory ÷ textbook's": ("at most 0.5", 0.333),
    }


def test_what_is_missing_goes_into_an_environment_of_its_own(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert check.missing() == []
    monkeypatch.setitem(check.MODULES, "pydantic", "a_module_that_is_nowhere")
    assert check.missing() == ["pydantic"]
    commands: list[list[str]] = []

    def run(command: list[Any], check: bool) -> subprocess.CompletedProcess[str]:
        commands.append([str(part) for part in command])
        if "venv" in commands[-1]:
            (tmp_path / "own" / "lib" / "python3" / "site-packages").mkdir(parents=True)
        return subprocess.CompletedProcess(command, returncode)

    monkeypatch.setattr(check, "OWN", tmp_path / "own")
    monkeypatch.setattr(check.subprocess, "run", run)
    monkeypatch.setattr(check.os, "execv", lambda python, arguments: commands.append(["then", str(python), *arguments]))
    monkeypatch.setattr(sys, "argv", ["tools/gpu_check.py", "tests"])
    returncode, python = 0, str(tmp_path / "own" / "bin" / "python")
    check.proceed_in_own_environment(["pydantic"])
    assert commands[1:] == [
        [python, "-m", "pip", "install", "--quiet", "pydantic"],
        ["then", python, python, "tools/gpu_check.py", "tests"],
    ]
    below = (tmp_path / "own" / "lib" / "python3" / "site-packages" / "below.pth").read_text(encoding="utf-8")
    assert any(Path(line).is_dir() for line in below.splitlines()), "it finds what the interpreter has"
    returncode = 1
    (tmp_path / "own" / "lib" / "python3" / "site-packages").rename(tmp_path / "gone")
    (tmp_path / "own" / "lib" / "python3").rmdir()
    (tmp_path / "own" / "lib").rmdir()
    with pytest.raises(SystemExit, match="cannot install pydantic; install them for"):
        check.proceed_in_own_environment(["pydantic"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "own"))
    with pytest.raises(SystemExit, match="own lacks pydantic; remove it"):
        check.proceed_in_own_environment(["pydantic"])


def test_without_a_gpu_it_says_so(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["tools/gpu_check.py"])
    with pytest.raises(SystemExit, match="torch sees no CUDA device here; ARGS='--device cpu --tiny'"):
        check.main()
    monkeypatch.setattr(sys, "argv", ["tools/gpu_check.py", "seach"])
    with pytest.raises(SystemExit) as stopped:
        check.main()
    assert stopped.value.code == 2
