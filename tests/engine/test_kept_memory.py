"""Whether freed memory is kept: large pieces then come from the heap, which stays, instead of from the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

WHERE = """
from pathlib import Path
import torch
from poise.engine.kept_memory import keep_freed_memory
kept = {kept} and keep_freed_memory()
piece = torch.ones(5 * 2**20)
heap = next(line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("[heap]"))
start, end = (int(address, 16) for address in heap.split()[0].split("-"))
print(kept, start <= piece.data_ptr() < end)
"""


def on_the_heap(kept: bool) -> list[str]:
    run = subprocess.run([sys.executable, "-c", WHERE.format(kept=kept)], capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is the GNU C library's")
def test_large_pieces_come_from_the_heap() -> None:
    found = on_the_heap(True)
    if found[0] == "False":
        pytest.skip("this C library has no mallopt")
    assert found == ["True", "True"]
    assert on_the_heap(False) == ["False", "False"]
