"""Image files in folders, which may come from anyone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from poise.data.decode import Encoded, from_file
from poise.errors import Refused
from poise.image_files import SUFFIXES

IGNORED = frozenset({"Thumbs.db", "desktop.ini"})  # left behind by file managers, as hidden files are
TEST_NAMES = ("test", "val", "valid", "validation")


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files by their number; a value that can be sent to another process."""

    paths: list[Path]

    def __call__(self, rows: list[int]) -> list[Encoded]:
        return [from_file(str(self.paths[row]), self.paths[row]) for row in rows]


def images_below(folder: Path, root: Path) -> list[Path]:
    """All images below ``folder``; anything else is refused by name, and so is a link that leaves ``root``."""
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.name in IGNORED:
            continue
        check_link(path, root)
        if path.is_dir():
            if path.is_symlink():
                raise Refused(f"{path} is a link to a folder, expected image files; links to folders are not followed")
            continue
        if path.suffix.lower() not in SUFFIXES:
            raise Refused(f"{path} is not an image, expected {', '.join(sorted(SUFFIXES))}")
        if not path.is_file():  # a pipe would block whoever reads it, for ever
            raise Refused(f"{path} is not a regular file, expected an image")
        found.append(path)
    return found


def check_link(path: Path, root: Path) -> None:
    """Data from anyone must not make poise read files elsewhere."""
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        raise Refused(f"{path} is a link out of {root} (to {path.resolve()}), expected the files themselves")
