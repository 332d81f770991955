"""Checkpoints: files that are whole or not there, and are known to be whole.

A checkpoint is ``POISECKP``, the SHA-256 of the rest, and a safetensors file whose metadata hold the facts as JSON. It
is written beside its place, flushed to the disk and renamed; the two newest are kept. One that was cut off, or in which
a bit has changed, is told by its sum and passed over for the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from poise.errors import Refused

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = b"POISECKP"
KEPT = 2


State = dict[str, Any]
"""Where a piece of work stands: nested dicts of tensors and of facts that JSON can hold."""

NOWHERE: State = {}


def split(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], State]:
    """The tensors of a state, by ``NAME/NAME/...``, and its facts; `join` makes it whole again."""
    from torch import Tensor  # which whoever has tensors has loaded

    tensors: dict[str, Tensor] = {}
    facts: State = {}
    for name, value in state.items():
        label = name.replace("~", "~0").replace("/", "~1")  # as a JSON pointer
        if isinstance(value, Tensor):
            tensors[label] = value
        elif isinstance(value, Mapping):
            below, facts[name] = split(value)
            tensors |= {f"{label}/{rest}": tensor for rest, tensor in below.items()}
        else:
            facts[name] = value
    return tensors, facts


def join(tensors: Mapping[str, Tensor], facts: State) -> State:
    """The state of these parts, in the place of ``facts``. Raises `ValueError` if they are not of one."""
    for label, tensor in tensors.items():
        *path, last = (name.replace("~1", "/").replace("~0", "~") for name in label.split("/"))
        part: Any = facts
        for name in path:
            part = part.setdefault(name, {}) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last in part:
            raise ValueError(f"{label!r} is named twice")
        part[last] = tensor
    return facts


class Checkpoints:
    """The checkpoints of one run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: State) -> Path:
        """Write the next checkpoint; those before the last but one go. Raises `OSError`, the earlier ones untouched."""
        self.folder.mkdir(exist_ok=True)
        found = self._found()
        number = self._number(found[-1]) + 1 if found else 1
        target = self.folder / f"{number:08d}.checkpoint"
        write_durably(target, encode(state))
        for old in [*found, target][:-KEPT]:
            old.unlink(missing_ok=True)
        return target

    def load(self, note: Callable[[str], None]) -> State | None:
        """The newest whole checkpoint; ``note`` hears of any that is damaged. None if there is none at all.

        Raises:
            Refused: there are checkpoints, and all are damaged.
        """
        found = self._found()
        for path in reversed(found):
            try:
                state = decode(path.read_bytes())
            except (ValueError, OSError) as error:
                note(f"{path} is damaged ({error}); it is passed over for the one before it")
            else:
                for newer in found[found.index(path) + 1 :]:
                    newer.unlink(missing_ok=True)
                return state
        if found:
            raise Refused(f"every checkpoint in {self.folder} is damaged; start the run again with --overwrite")
        return None

    def clear(self) -> None:
        """Remove all checkpoints, and what a write that was killed left behind: the work is done."""
        for path in [*self._found(), *self.folder.glob(".*.checkpoint.new")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _found(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.checkpoint") if path.stem.isdigit() and path.is_file())

    @staticmethod
    def _number(path: Path) -> int:
        return int(path.stem)


def encode(state: State) -> bytes:
    """A state as the bytes of a checkpoint."""
    from safetensors.torch import save  # with torch, which whoever has tensors has loaded

    found, facts = split(state)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}
    body = save(tensors, metadata={"facts": json.dumps(facts)})
    return MAGIC + hashlib.sha256(body).digest() + body


def decode(content: bytes) -> State:
    """The state in a checkpoint's bytes. Raises `ValueError` if they are not whole."""
    from safetensors.torch import load

    start = len(MAGIC)
    body = content[start + 32 :]
    if content[:start] != MAGIC or hashlib.sha256(body).digest() != content[start : start + 32]:
        raise ValueError(f"its {len(content)} bytes do not have the sum that was written with them")
    try:
        (length,) = struct.unpack("<Q", body[:8])
        facts = json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["facts"])
        if not isinstance(facts, dict):
            raise TypeError("its facts are not an object")
        return join(load(body), facts)
    except (SafetensorError, struct.error, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no checkpoint: {error}") from None


def write_durably(target: Path, content: bytes) -> None:
    """Write a file so that after a crash, even of the machine, it is the old one or the new one, never half of it."""
    temporary = target.with_name(f".{target.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
