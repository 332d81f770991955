"""The pages that are made for whoever watches: the list of runs, and some of them beside each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from poise.config.reading import read_yaml
from poise.engine.run import RunFolder
from poise.errors import Refused, unknown
from poise.report.curves import Panel, panels_of
from poise.report.page import Beside, Block, Curves, Grid, Page, Paragraph, Pictures, Section, Status
from poise.report.pictures import chips, pictures
from poise.supernet.groups import searchable
from poise.watch.runs import Watched, folders_in, runs_in, watched
from poise.workflow.saved import settings_of

FEWEST, MOST = 2, 10
"""Runs that are compared."""


@dataclass(frozen=True)
class Runs:
    """A list of runs, some of which can be marked to be compared."""

    runs: Sequence[Watched]
    kind: ClassVar[str] = "runs"

    @staticmethod
    def link(name: str) -> str:
        """Where a run's page is."""
        return f"/runs/{quote(name)}/report.html"


def list_page(root: Path) -> Page:
    """Every run of a folder."""
    found = runs_in(root)
    running = sum(run.state == "running" for run in found)
    name = root.absolute().name or str(root)
    count = f"{len(found)} run{'' if len(found) == 1 else 's'}"
    text = f"{count} in {name}, {running or 'none'} of them running." if found else f"There is no run in {name} yet."
    return Page(
        name, "runs", text, "running" if running else "finished", written=time.time(),
        sections=[Section("Runs", [Runs(found)])] if found else [],
    )  # fmt: skip


def compare_page(root: Path, names: Sequence[str]) -> Page:
    """Some runs of a folder beside each other. Raises `Refused` for too few or too many, or one that there is not."""
    names = list(dict.fromkeys(names))
    there = folders_in(root)
    for name in names:
        if name not in there:
            raise unknown("run", name, there)
    if not FEWEST <= len(names) <= MOST:
        raise Refused(f"{FEWEST} to {MOST} runs can be compared, got {len(names)}")
    rows = [watched(name, there[name]) for name in names]
    folders = {name: RunFolder(there[name]) for name in names}
    head = ["run", "kind", "state", "progress", "best", "time"]
    sections = [
        Section("Results", [Grid([[r.name, r.kind, r.state, r.progress, r.metric, r.time] for r in rows], head)]),
        Section("Curves", [Curves(panels)] if (panels := over_each_other(folders)) else []),
        Section("Architectures", [Beside([(name, list(_architecture(folders[name]))) for name in names])]),
        Section("Settings that differ", [differing({name: there[name] for name in names})]),
    ]
    running = any(row.state == "running" for row in rows)
    state: Status = "running" if running else "finished"
    title = f"{', '.join(names[:-1])} and {names[-1]}"
    return Page(title, "comparison", "", state, sections=sections, written=time.time())


def over_each_other(folders: Mapping[str, RunFolder]) -> list[Panel]:
    """A panel for every number that at least two of the runs have, with a curve for each of them."""
    found: dict[str, dict[str, Any]] = {}
    for name, folder in folders.items():
        for panel in panels_of(folder.history()):
            for label, points in panel.curves.items():
                title = panel.title if panel.plain else _titled(panel.title, label)
                found.setdefault(title, {})[name] = points
    return [Panel(title, curves) for title, curves in found.items() if len(curves) > 1]


def _titled(title: str, label: str) -> str:
    """The unit stays at the end."""
    base, bracket, unit = title.partition(" (")
    return f"{base}, {label}{bracket}{unit}"


def _architecture(folder: RunFolder) -> Iterator[Block]:
    try:
        genotype, groups = folder.genotype(), searchable(settings_of(folder, device="cpu").space.groups)
        yield Pictures(pictures(genotype, groups), chips(genotype, groups))
    except Refused:
        yield Paragraph("There is none yet, or it cannot be drawn.")


def differing(folders: Mapping[str, Path]) -> Block:
    """A row for every setting in which the runs differ."""
    settings = {name: dict(_leaves(read_yaml(path / "config.yaml"))) for name, path in folders.items()
                if (path / "config.yaml").is_file()}  # fmt: skip
    keys = dict.fromkeys(key for values in settings.values() for key in values)
    rows = [
        [key, *(values.get(key, "–") for values in settings.values())]
        for key in keys
        if len({values.get(key) for values in settings.values()}) > 1
    ]
    return Grid(rows, ["setting", *settings]) if rows else Paragraph("There are none.")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
