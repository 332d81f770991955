"""Memory that really runs out: the address space of a process is limited once its first step begins."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults_support import ENVIRONMENT, PATIENCE, Ended, resuming, run

from full import full_only

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the address space is read from /proc")

LIMITED = """
import resource, sys
from pathlib import Path
import matplotlib.pyplot, matplotlib.backends.backend_svg
import numpy, pyarrow.parquet, scipy.stats  # what is loaded on first use takes room
import poise
from poise.engine.events import Started

numpy.ones((256, 256)) @ numpy.ones((256, 256))  # so do the buffers of its first product

def limit(event):
    if isinstance(event, Started):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + {room} * 2**20, resource.RLIM_INFINITY))

settings = {{
    "data.size": 32, "space.channels": 8, "space.cells": 1, "search.epochs": 1, "search.batch_size": {batch},
    "train.channels": 8, "train.cells": 1, "train.epochs": 1, "train.batch_size": {batch}, "train.drop_path": 0,
    "train.auxiliary": 0,
}}
shared = {{"settings": settings, "out": {out!r}, "device": "cpu", "listen": limit}}
chain = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
try:
    if {kind!r} == "search":
        poise.search("digits", space="nasbench201", method="darts", **shared)
    else:
        poise.train(poise.Genotype.parse(chain), "digits", **shared)
except poise.Refused as refused:
    sys.exit(f"poise: {{refused}}")
"""


TRIES = 5
"""Where hardly any memory is left the library that computes convolutions may crash rather than say so: tried again."""


def limited(kind: str, out: Path, room: int, batch: int) -> Ended:
    """A search or a training that may use ``room`` MiB more than what it had when its first step began."""
    script = LIMITED.format(kind=kind, out=str(out), room=room, batch=batch)
    for _ in range(TRIES):
        shutil.rmtree(out, ignore_errors=True)
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE
        )
        if ended.returncode != -signal.SIGSEGV:
            break
    return Ended(ended.returncode, ended.stderr)


@full_only  # how much room an address space has left differs between machines; test_memory_limits.py raises the errors
@pytest.mark.parametrize(("kind", "room", "batch"), [("search", 220, 700), ("train", 200, 1000)])
def test_the_batch_that_fits_is_named_and_fits(kind: str, room: int, batch: int, tmp_path: Path) -> None:
    """An address space is used unevenly, so what is named may be a little too large, and be corrected; never more than
    twice."""
    ended, tries = limited(kind, tmp_path / "run", room, batch), 0
    while ended.code:
        found = re.search(
            rf"out of memory at {kind}\.batch_size {batch}: {kind}\.batch_size=(\d+) fits the", ended.line
        )
        assert found, ended
        assert ended.code == 1
        assert 2 <= int(found[1]) < batch
        tries, batch = tries + 1, int(found[1])
        assert tries <= 3, "following the advice does not help"
        ended = limited(kind, tmp_path / f"smaller-{tries}", room, batch)
    assert tries >= 1, "the first batch does not fit"
    assert ended.err == ""
    assert (tmp_path / "run" / "config.yaml").is_file()
    resumed = run(resuming(tmp_path / "run"))
    assert resumed.code == 0, resumed
    finished = "genotype.json" if kind == "search" else "result.json"
    assert (tmp_path / "run" / finished).is_file()


@full_only  # test_memory_limits.py raises the errors of those libraries
def test_hardly_any_memory_is_one_line_too(tmp_path: Path) -> None:
    """Not even measuring what fits has room, and what fails first is a convolution. With less room still, the library
    that computes it may crash rather than say so."""
    failed = limited("search", tmp_path / "run", 24, 700)
    assert failed.code == 1, failed
    assert "out of memory at search.batch_size 700" in failed.line
