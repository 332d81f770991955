"""What can be refused of a bench at once, before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from poise.bench.protocol import protocol
from poise.errors import Refused
from poise.named import BENCH_FILE, OWN, check_contestant, check_data
from poise.registries import SELECTIONS


def check_bench(name: str, contestants: Sequence[str], selections: Sequence[str], data: str) -> None:
    """The names of a bench, and its data."""
    protocol(name)
    for label in contestants:
        check_contestant(label)
    for rule in selections:
        if rule != OWN:
            SELECTIONS.check(rule)
    check_data(data)


def check_bench_folder(folder: Path) -> None:
    """The folder of a bench."""
    if not (folder / BENCH_FILE).is_file():
        raise Refused(f"there is no bench at {folder}")
