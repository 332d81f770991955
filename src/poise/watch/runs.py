"""What runs a folder holds, and how each of them does. Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poise.config.reading import read_yaml
from poise.engine.lock import worker
from poise.engine.run import OWN_FOLDERS, RunFolder
from poise.errors import Refused
from poise.named import BENCH_FILE
from poise.report.page import FILE, Status
from poise.report.readable_numbers import duration, is_share, shares, words

DEPTH = 5
"""How deep runs may lie."""
MOST = 500
"""So many are listed."""
ENDS = {"search": "genotype.json", "train": "result.json"}
"""Kind of a run -> what it holds once it has ended."""


@dataclass(frozen=True)
class Watched:
    """A run as a row of a list.

    Args:
        name: its path from the folder that is watched, with ``/`` between its parts.
        kind: ``search``, ``training`` or ``bench``.
        state: as on its page.
        progress: such as ``12 of 50 epochs``.
        metric: the best value so far, in words.
        time: how long it took so far.
        page: whether it has one.
    """

    name: str
    kind: str
    state: Status
    progress: str
    metric: str
    time: str
    page: bool


def folders_in(root: Path) -> dict[str, Path]:
    """Name -> folder of every run and bench, by name."""
    return dict(sorted((path.relative_to(root).as_posix(), path) for path in _found(root, DEPTH)))


def _found(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if {"run.json", BENCH_FILE} & {entry.name for entry in entries}:
        yield folder
    for entry in entries:
        if depth and entry.is_dir(follow_symlinks=False) and entry.name not in OWN_FOLDERS and entry.name[0] != ".":
            yield from _found(folder / entry.name, depth - 1)


def runs_in(root: Path) -> list[Watched]:
    """Every run below a folder; what cannot be read is passed over."""
    found = []
    for name, path in list(folders_in(root).items())[:MOST]:
        try:
            found.append(watched(name, path))
        except Refused:
            continue
    return found


def watched(name: str, path: Path) -> Watched:
    """How one run does. Raises `Refused` where it cannot be read."""
    page = (path / FILE).is_file()
    if (path / BENCH_FILE).is_file():
        done = sum(1 for _ in (path / "results").glob("*.json"))
        state: Status = "running" if worker(path) else "finished" if page else "stopped"
        return Watched(name, "bench", state, f"{done} results", "–", "–", page)
    folder = RunFolder(path)
    kind = RunFolder.kind_of(path)
    if kind not in ENDS:
        raise Refused(f"{path} has not begun")
    history = folder.history()
    times = [float(r["seconds"]) for r in history if isinstance(r.get("seconds"), int | float)]
    ended = folder.holding(ENDS[kind]) is not None and not (path / "checkpoints").is_dir()
    state = "finished" if ended else "running" if worker(path) else "stopped"
    return Watched(
        name, "search" if kind == "search" else "training", state, f"{len(history)} of {_epochs(path, kind)} epochs",
        best(history, folder.result()), duration(sum(times)) if times else "–", page,
    )  # fmt: skip


def _epochs(path: Path, kind: str) -> str:
    part = read_yaml(path / "config.yaml").get(kind)
    return str(part.get("epochs", "?")) if isinstance(part, Mapping) else "?"


def best(history: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> str:
    """The best value of the metric that counts: of the test, or else over the epochs."""
    metric = history[-1].get("metric") if history else None
    if not isinstance(metric, Mapping) or "name" not in metric:
        return "–"
    name, known = str(metric["name"]), shares(history)
    for split in ("test", "valid", "search", "train"):
        key = f"{split}_{name}"
        values = [each[key] for each in (*history, result) if isinstance(each.get(key), int | float)]
        if values:
            value = (max if metric.get("higher_is_better", True) else min)(values)
            return f"{f'{100 * value:.2f}%' if is_share(key, known) else f'{value:.4g}'} {split} {words(name)}"
    return "–"
