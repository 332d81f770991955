"""What an offline run of Weights & Biases left: its file is a log of records, framed as LevelDB's."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32_768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Written:
    """All that was said of a run, over all of its files."""

    ids: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    config: dict[str, Any] = field(default_factory=dict)
    epochs: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, set[str]] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)


PATIENCE = 30.0
"""Seconds until a run that has ended is on the disk: its file is written by another process."""


def written(folder: Path) -> Written:
    """What the files below a folder say, in the order in which they were begun, once all of them have ended."""
    until = time.monotonic() + PATIENCE
    while len((found := _written(folder)).codes) < len(list(folder.glob("wandb/offline-run-*"))):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def _written(folder: Path) -> Written:
    from wandb.proto import wandb_internal_pb2

    found = Written()
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime):
        for content in _records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.HasField("run"):
                found.ids.append(record.run.run_id)
                found.names.add(record.run.display_name)
                found.config |= _items(record.run.config.update)
            elif record.HasField("history"):
                values = _items(record.history.item)
                step = record.history.step.num or values.get("_step", 0)
                found.epochs.append((step, {name: v for name, v in values.items() if not name.startswith("_")}))
            elif record.HasField("summary"):
                found.summary |= _items(record.summary.update)
            elif record.HasField("artifact"):
                contents = record.artifact.manifest.contents
                found.artifacts[record.artifact.type] = {each.path for each in contents}
            elif record.HasField("exit"):
                found.codes.append(record.exit.exit_code)
    return found


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[bytes]:
    place, parts = HEADER, []  # the file's own header is as long as a record's
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
        _, length, kind = struct.unpack("<IHB", content[place : place + HEADER])
        parts.append(content[place + HEADER : place + HEADER + length])
        place += HEADER + length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []
