"""Files of a folder as they are at one moment, what has changed since the last one, and the same put elsewhere: how a
command's folder comes back from a machine that shares no disk with this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from poise.engine.checkpoint import write_durably

MOMENTS = 10
"""How often a moment is tried to be caught in which nothing changes; after that the files are taken as they were
read, which is no worse than what a crash leaves."""

Stamp = tuple[int, int, int]
"""Inode, size and time of change: files of poise are replaced, so that each version is another inode."""


@dataclass(frozen=True)
class Changes:
    """What has changed in a folder.

    Args:
        files: path from there -> content, of what is new or another.
        gone: paths of what is no longer there.
    """

    files: dict[str, bytes]
    gone: tuple[str, ...] = ()

    def put(self, folder: Path) -> None:
        """Make the same changes in a folder. Raises `OSError`; each file is the old or the new one."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_durably(folder / name, content)
        for name in self.gone:
            (folder / name).unlink(missing_ok=True)


class Mirror:
    """Tells what has changed in a folder since it was last asked.

    Args:
        folder: of a command.
        names: the files that count, and folders with all that is in them, but for files with a dot before their name:
            locks, and what is being written.
        known: whoever asks has the files as they are now.
    """

    def __init__(self, folder: Path, names: Sequence[str], known: bool = False) -> None:
        self._folder, self._names = folder, names
        self._seen: dict[str, Stamp] = self._stamps() if known else {}

    def changes(self) -> Changes:
        """What has changed, all of it as it was at one moment."""
        now = self._stamps()
        for _ in range(MOMENTS):
            before = now
            new = [name for name, stamp in before.items() if self._seen.get(name) != stamp]
            read = {name: self._read(name) for name in new}
            now = self._stamps()
            if now == before:
                break
        files = {name: content for name, content in read.items() if content is not None}
        gone = tuple(self._seen.keys() - before.keys())
        self._seen = {name: stamp for name, stamp in before.items() if name in files or name not in read}
        return Changes(files, gone)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except OSError:  # it has just gone
            return None

    def _stamps(self) -> dict[str, Stamp]:
        found = {}
        for path in self._paths():
            try:
                stat = path.stat()
            except OSError:
                continue
            found[path.relative_to(self._folder).as_posix()] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        return found

    def _paths(self) -> Iterator[Path]:
        for name in self._names:
            path = self._folder / name
            paths = path.rglob("*") if path.is_dir() else [path]
            yield from (each for each in paths if each.is_file() and not each.name.startswith("."))
