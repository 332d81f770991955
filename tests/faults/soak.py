"""Kill a long search on real data again and again, and compare its end with that of one that was left alone.

    OMP_NUM_THREADS=1 python tests/faults/soak.py DATA OUT [--kills 10] [--between 60 240] [-- MORE ARGUMENTS OF SEARCH]

Both searches run at the same time, one thread each. Ends with exit code 1 if anything differs but seconds. Not part of
the test suite: it takes as long as the search that it is given.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

COUNTED = """
import sys, time
from poise.cli.main import main
from poise.engine.checkpoint import Checkpoints
begin, spent, save = time.perf_counter(), [], Checkpoints.save
def timed(self, state):
    start = time.perf_counter()
    target = save(self, state)
    spent.append(time.perf_counter() - start)
    return target
Checkpoints.save = timed
try:
    main()
finally:
    whole = time.perf_counter() - begin
    print(f"checkpoints: {len(spent)}, {sum(spent):.2f} s of {whole:.0f} s = {sum(spent) / whole:.3%}", file=sys.stderr)
"""


def history(run: Path) -> list[dict[str, object]]:
    """The records of a run, seconds aside."""
    records = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def differences(one: Path, other: Path) -> list[str]:
    """What two runs ended with and do not share, bit for bit."""
    found = []
    for name in ("alphas.safetensors", "adam.safetensors", "supernet.safetensors"):
        left, right = load_file(one / name), load_file(other / name)
        if left.keys() != right.keys() or not all(torch.equal(left[key], right[key]) for key in left):
            found.append(name)
    if history(one) != history(other):
        found.append("history.jsonl")
    if (one / "genotype.json").read_bytes() != (other / "genotype.json").read_bytes():
        found.append("genotype.json")
    return found


def main() -> int:
    """Run both, and say what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--between", type=float, nargs=2, default=(60.0, 240.0))
    parser.add_argument("--every", type=float, default=20.0, help="seconds between the checkpoints of the killed one")
    own, _, more = " ".join(sys.argv[1:]).partition(" -- ")
    given = parser.parse_args(own.split())
    given.out.mkdir(parents=True)
    begin = time.monotonic()

    def say(message: str) -> None:
        print(f"{time.monotonic() - begin:7.1f} s  {message}", flush=True)

    search = ["search", "--data", str(given.data), "--device", "cpu", *more.split()]
    alone, killed = given.out / "alone", given.out / "killed"
    with (given.out / "alone.log").open("w") as log:
        left_alone = subprocess.Popen(
            [sys.executable, "-c", COUNTED, *search, "--out", str(alone)], stdout=subprocess.DEVNULL, stderr=log
        )
    every = ["--checkpoint-every", str(given.every)]
    command = [sys.executable, "-m", "poise", *search, *every, "--out", str(killed)]
    kills, random_moment = 0, random.Random(0)
    with (given.out / "killed.log").open("w") as log:
        while kills < given.kills:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
            try:
                process.wait(random_moment.uniform(*given.between))
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                say(f"kill {kills} after {len(history(killed)) if (killed / 'history.jsonl').is_file() else 0} epochs")
                command = [sys.executable, "-m", "poise", "resume", str(killed), *every]
        else:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        codes = process.wait(), left_alone.wait()
    say(f"{kills} kills, exit codes {codes}")
    if kills < given.kills or any(codes):
        say("too few kills, or a run that failed: nothing is shown")
        return 1
    print((given.out / "alone.log").read_text().splitlines()[-1])
    found = differences(alone, killed)
    say(f"differ: {', '.join(found)}" if found else "bit-identical")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
