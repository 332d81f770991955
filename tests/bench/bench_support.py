"""A made-up table of all NAS-Bench-201 cells, planted contestants, and the command line as a process."""

from __future__ import annotations

import gzip
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from forked import Forked

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
WORTH = {"none": 0.0, "skip_connect": 1.0, "avg_pool_3x3": 3.0, "nor_conv_1x1": 7.0, "nor_conv_3x3": 9.0}
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
WORST = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"

PLUGIN = """
from poise.bench.result import Result
from poise.genotype import Genotype
from poise.bench.job import CONTESTANTS


class Planted:
    selections = False

    def __init__(self, text):
        self.text = text

    def seconds(self, job):
        return 1.0

    def run(self, job, listen, control):
        if self.text is None:
            raise RuntimeError("planted to fail")
        return [Result(job.contestant, "", job.seed, Genotype.parse(self.text), {"search": 1.0})]


CONTESTANTS.add("optimum")(Planted("BEST"))
CONTESTANTS.add("worst")(Planted("WORST"))
CONTESTANTS.add("broken")(Planted(None))
"""


def text_of(operations: tuple[str, ...]) -> str:
    """The benchmark's string of six operations."""
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def value_of(operations: tuple[str, ...]) -> float:
    """What the made-up table says: 10 to 64, and no two cells alike by much."""
    return 10 + sum(WORTH[name] * (1 + 0.01 * place) for place, name in enumerate(operations))


def write_table(path: Path) -> Path:
    """All 15,625 cells."""
    lines = ["index,arch,c10_test_200,c100_test_200,in16_test_200"]
    for number, operations in enumerate(itertools.product(OPERATIONS, repeat=6)):
        value = value_of(operations)
        lines.append(f"{number},{text_of(operations)},{value:.4f},{value / 2:.4f},{value / 3:.4f}")
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("\n".join(lines) + "\n")
    return path


def write_plugin(folder: Path) -> Path:
    """A folder that, on the module path, adds the planted contestants as an installed package would."""
    (folder / "planted-1.0.dist-info").mkdir(parents=True)
    (folder / "planted-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (folder / "planted-1.0.dist-info" / "entry_points.txt").write_text("[poise.plugins]\nplanted = planted\n")
    (folder / "planted.py").write_text(PLUGIN.replace("BEST", BEST).replace("WORST", WORST))
    return folder


def environment(plugin: Path) -> dict[str, str]:
    """Of a process that knows the planted contestants."""
    parts = (str(plugin), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))
    path = os.pathsep.join(part for part in parts if part)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def start(plugin: Path, *words: str, program: bool = False) -> subprocess.Popen[str]:
    """The command line at work: a ``program`` that is started, or a fork of this process."""
    begin: Any = subprocess.Popen if program else Forked
    found: subprocess.Popen[str] = begin(
        [sys.executable, "-m", "unrendered", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(plugin), start_new_session=True,
    )  # fmt: skip
    return found


def poise(plugin: Path, *words: str, program: bool = False) -> tuple[int, str, str]:
    """The command line's exit code and what it said."""
    process = start(plugin, *words, program=program)
    out, err = process.communicate(timeout=1200)
    return process.returncode, out, err
