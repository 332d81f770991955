"""Check poise on a machine with a CUDA device, and measure it there, in ten minutes: ``make gpu``.

    make gpu ARGS="--data cifar10/ --split split.json"
    make gpu ARGS="speed --out runs/gpu"
    make gpu ARGS="--device cpu --tiny"          every line on a CPU, in a minute

Parts, each of which runs alone:

- ``tests``: what is computed on the device is what a CPU computes in float64, and a captured step what an uncaptured
  one computes, to the last bit; nothing waits inside a step (``tests/gpu``);
- ``speed``: ``poise bench speed`` for the DARTS space and for NAS-Bench-201, in float32 and bf16, beside the aims;
- ``retrain``: a step of the published retraining of a DARTS network, and what all of it would take, see
  ``tools/gpu_retrain.py``;
- ``search``: the published search of NAS-Bench-201 in the time that is left, see ``tools/gpu_search.py``; the same
  command goes on with it.

Everything is written into one folder: what each part printed, figures as JSON, ``summary.json``. It runs with the
interpreter that started it, if torch and what poise needs are there; else in an environment of its own that is made on
top of it. Nothing is installed into the interpreter's own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import site
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / ".venv-gpu"
MODULES = {"lightning-fabric": "lightning_fabric", "pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
"""Packages whose module has another name."""

SPACES = ("darts", "nasbench201")
PRECISIONS = ("32", "bf16-mixed")
METHODS = "darts-2nd,sdarts-adv,lambda-darts"
TINY = ("--channels=2", "--cells=1", "--batch-size=2", "--image-size=8", "--rounds=1", "--methods=darts", "--no-memory")
OURS, PLAIN = "darts step, poise", "darts step, textbook"
STEPS = 390 * 50
"""Of a published search: half of CIFAR-10, 64 images at a time, for 50 epochs."""
AIMS: list[tuple[str, str, float, Callable[[Callable[..., float]], float]]] = [
    ("DARTS, float32: textbook's step ÷ ours", "at least", 6.0, lambda v: v("darts 32", PLAIN) / v("darts 32", OURS)),
    (
        "DARTS, float32: textbook's captured step ÷ ours",
        "at least",
        2.0,
        lambda v: v("darts 32", f"{PLAIN}, captured") / v("darts 32", OURS),
    ),
    ("DARTS: step in float32 ÷ bf16", "at least", 1.5, lambda v: v("darts 32", OURS) / v("darts bf16-mixed", OURS)),
    (
        "NAS-Bench-201, float32: textbook's step ÷ ours",
        "at least",
        5.0,
        lambda v: v("nasbench201 32", PLAIN) / v("nasbench201 32", OURS),
    ),
    ("NAS-Bench-201: minutes of a search", "under", 6.0, lambda v: v("nasbench201 32", OURS) * STEPS / 60),
    ("DARTS: minutes of a search", "under", 20.0, lambda v: v("darts 32", OURS) * STEPS / 60),
    ("SDARTS-ADV ÷ first order", "at most", 4.0, lambda v: v("darts 32", "sdarts-adv step, poise", "ratio")),
    ("Λ-DARTS ÷ first order", "at most", 2.1, lambda v: v("darts 32", "lambda-darts step, poise", "ratio")),
    ("second order ÷ first order", "at most", 2.6, lambda v: v("darts 32", "darts-2nd step, poise", "ratio")),
    (
        "DARTS: peak memory ÷ textbook's",
        "at most",
        0.5,
        lambda v: v("darts 32", "darts step, stacked", "peak_mb") / v("darts 32", PLAIN, "peak_mb"),
    ),
]
"""What is aimed at on one H100: what it is, and how it is read from the tables by ``value(table, row, column)``."""

SHARE = {"tests": 0.35, "speed": 0.55, "retrain": 0.4}
"""The most of the time that is left that a part may take; the search takes all of it."""


def missing() -> list[str]:
    """The packages that poise needs to run and to be tested, and that this interpreter has not."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = [re.split(r"[<>=]", text)[0] for text in [*needed, "pytest"]]
    return [name for name in names if importlib.util.find_spec(MODULES.get(name, name)) is None]


def proceed_in_own_environment(lacking: Sequence[str]) -> None:
    """Make the environment, with all that the interpreter has and what it lacks, and start anew in it."""
    if Path(sys.prefix) == OWN:
        sys.exit(f"gpu_check: {OWN} lacks {', '.join(lacking)}; remove it and try again")
    print(f"this interpreter lacks {', '.join(lacking)}: installing into {OWN}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", OWN], check=True)
    python, (folder,) = OWN / "bin" / "python", OWN.glob("lib/python*/site-packages")
    (folder / "below.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    installed = subprocess.run([python, "-m", "pip", "install", "--quiet", *lacking], check=False)
    if installed.returncode:
        sys.exit(f"gpu_check: cannot install {', '.join(lacking)}; install them for {sys.executable}, and try again")
    os.execv(python, [str(python), *sys.argv])


def run(command: Sequence[str], log: Path, seconds: float, **more: str) -> int:
    """Run ``python COMMAND`` on poise as it lies here; show and write what it prints. Its exit code; 124 where the time
    was up."""
    path = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1", "COLUMNS": "100", **more}
    end = time.monotonic() + seconds
    print(f"$ python {' '.join(command)}", flush=True)
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            ["timeout", f"{max(seconds, 1):.0f}", sys.executable, *command], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            file.write(line)
    code = process.wait()
    print(f"exit code {code}, {end - time.monotonic():.0f} s of its time were left", flush=True)
    return code


def check_tests(given: argparse.Namespace, seconds: float) -> Mapping[str, Any]:
    """The tests of ``tests/gpu`` on the device."""
    command = ["-m", "pytest", "-v", "-p", "no:cacheprovider", "tests/gpu"]
    if given.tiny:
        command += ["-k", "nasbench201 and (pass or [darts-nasbench201)"]
    elif importlib.util.find_spec("xdist"):  # most of the time is the host's
        command += ["-n", str(min(8, os.cpu_count() or 1))]
    more = {"POISE_GPU_DEVICE": given.device, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_NUM_THREADS": "1"}
    code = run(command, given.out / "tests.txt", seconds, **more)
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)", (given.out / "tests.txt").read_text(encoding="utf-8"))
    return {"ok": code == 0, **{word: int(number) for number, word in counts}}


def check_speed(given: argparse.Namespace, seconds: float) -> Mapping[str, Any]:
    """The speed tables, and what they say of the aims."""
    end, sizes, found = time.monotonic() + seconds, TINY if given.tiny else (), dict[str, Any]()
    # To try the way, one precision and the smallest network do.
    precisions, spaces = (PRECISIONS[:1], SPACES[1:]) if given.tiny else (PRECISIONS, SPACES)
    for precision in precisions:
        for space in spaces:
            name = f"speed-{space}-{precision}"
            file = given.out / f"{name}.json"
            command = [
                "-m", "poise", "bench", "speed", "--space", space, "--methods", METHODS, "--device", given.device,
                "--precision", precision, "--out", str(file), *sizes,
            ]  # fmt: skip
            file.unlink(missing_ok=True)
            run(command, given.out / f"{name}.txt", end - time.monotonic())
            if file.is_file():
                timings = json.loads(file.read_text(encoding="utf-8"))["timings"]
                found[f"{space} {precision}"] = {timing["name"]: timing for timing in timings}
    return {"ok": len(found) == len(spaces) * len(precisions), "aims": aims(found)}


def check_retrain(given: argparse.Namespace, seconds: float) -> Mapping[str, Any]:
    """Seconds of a retraining's step, and hours of all."""
    file = given.out / "retrain.json"
    file.unlink(missing_ok=True)
    options = [
        f"--device={given.device}",
        *(["--tiny"] if given.tiny else []),
        *(["--compile"] if given.compile else []),
    ]
    code = run(["tools/gpu_retrain.py", str(file), *options], given.out / "retrain.txt", seconds)
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {"ok": code == 0, **found}


def check_search(given: argparse.Namespace, seconds: float) -> Mapping[str, Any]:
    """The search, and how far it came."""
    options = [f"--seconds={seconds:.0f}", f"--device={given.device}", *(["--tiny"] if given.tiny else [])]
    options += [f"--data={given.data}"] if given.data else []
    options += [f"--split={given.split}"] if given.split else []
    folder = given.out / "search"
    code = run(["tools/gpu_search.py", str(folder), *options], given.out / "search.txt", seconds + 60)
    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text(encoding="utf-8").splitlines()]
    return {"ok": code == 0 and bool(lines), "epochs": len(lines), "last": lines[-1] if lines else None}


PARTS: dict[str, Callable[[argparse.Namespace, float], Mapping[str, Any]]] = {
    "tests": check_tests,
    "speed": check_speed,
    "retrain": check_retrain,
    "search": check_search,
}


def aims(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What was aimed at on one H100, beside what the tables hold; what they do not hold is left out."""

    def value(table: str, row: str, what: str = "seconds") -> float:
        return float(found[table][row][what])

    seen: list[dict[str, Any]] = []
    for what, sign, bound, measure in AIMS:
        with suppress(KeyError, TypeError):  # the table or the row is missing, or nothing is known there
            seen.append({"what": what, "aim": f"{sign} {bound}", "seen": round(measure(value), 3)})
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; none: all")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="the folder that everything is written into")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all parts together")
    parser.add_argument("--data", type=Path, help="CIFAR-10, as poise search takes it; without, the search sees noise")
    parser.add_argument("--split", type=Path, help="NAS-Bench-201's halves, as JSON")
    parser.add_argument("--compile", action="store_true", help="retrain a compiled network, too: it takes minutes")
    parser.add_argument("--tiny", action="store_true", help="so small that only the way is tried")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    if lacking := missing():
        proceed_in_own_environment(lacking)
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu_check: torch sees no CUDA device here; ARGS='--device cpu --tiny' tries the way on a CPU")
    given.out = given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * given.minutes
    device = torch.cuda.get_device_name() if given.device == "cuda" else given.device
    summary: dict[str, Any] = {"device": device, "torch": torch.__version__, "python": sys.version.split()[0]}
    for name in given.parts or PARTS:
        print(f"\n=== {name}: {end - time.monotonic():.0f} s are left", flush=True)
        summary[name] = PARTS[name](given, (end - time.monotonic()) * SHARE.get(name, 1.0))
        (given.out / "summary.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    print(f"\n{json.dumps(summary, indent=2, ensure_ascii=False)}\neverything is in {given.out}")
    sys.exit(0 if all(summary[name]["ok"] for name in given.parts or PARTS) else 1)


if __name__ == "__main__":
    main()
