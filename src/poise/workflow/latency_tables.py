"""The latency tables that a run goes by: each is read once, when the run begins, and kept in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from poise.costs.latency import LatencyTable, parse_table, read_table
from poise.engine.run import TABLES, RunFolder
from poise.errors import Refused

FORMAT: dict[str, Any] = {"format": "poise.latency-tables", "version": 1}


class Tables:
    """Latency tables by the path of their file, as a target names it.

    Args:
        folder: of a run that has begun: its tables are as they were then, wherever their files are now.
    """

    def __init__(self, folder: RunFolder | None = None) -> None:
        self._found = {} if folder is None else _kept(folder)

    def __getitem__(self, path: str) -> LatencyTable:
        """Raises `Refused` if the file cannot be read, or is no table."""
        if path not in self._found:
            self._found[path] = read_table(Path(path))
        return self._found[path]

    def files(self) -> dict[str, str]:
        """What a run's folder keeps of those that were asked for, file -> text; no file if none was."""
        if not self._found:
            return {}
        tables = {path: json.loads(table.to_json()) for path, table in self._found.items()}
        return {TABLES: json.dumps(FORMAT | {"tables": tables}, indent=1)}


def _kept(folder: RunFolder) -> dict[str, LatencyTable]:
    if not (folder.path / TABLES).is_file():
        return {}
    found, what = folder.read_json(TABLES), str(folder.path / TABLES)
    tables = found.get("tables")
    if {name: found.get(name) for name in FORMAT} != FORMAT or not isinstance(tables, dict):
        raise Refused(f"{what} is not of a run that this poise can read")
    # Older runs wrote down paths as they were typed; settings make them absolute from the same folder as here.
    return {str(Path(path).resolve()): parse_table(table, what) for path, table in tables.items()}
