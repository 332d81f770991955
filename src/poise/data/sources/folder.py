"""Image files in one folder per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from poise.data.decode import Encoded, from_file
from poise.data.labels import Labels
from poise.data.parts import EncodedPart
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource, held_out
from poise.data.text import text_files
from poise.errors import Refused, unknown
from poise.image_files import SUFFIXES
from poise.named import path_of

IGNORED = frozenset({"Thumbs.db", "desktop.ini"})  # left behind by file managers, as hidden files are
TEST_NAMES = ("test", "val", "valid", "validation")


@SOURCES.add("folder")
class Folder:
    """A folder of class folders: ROOT/train/CLASS/* and ROOT/test|val/CLASS/*, or ROOT/CLASS/* (a fifth held out)."""

    form = "a folder of class folders"

    @classmethod
    def matches(cls, spec: object) -> bool:
        path = path_of(spec)
        return path is not None and path.is_dir() and not any(path.glob("*.parquet")) and not text_files(path)

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        root = Path(str(spec)).expanduser()
        train = root / "train"
        if not train.is_dir() or not _folders(train):
            classes = _class_names(root)
            return held_out(root.resolve().name, labels, classes, _part(root, classes, root, labels))
        _check_link(train, root)
        classes = _class_names(train)
        test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
        if test is None:
            return held_out(root.resolve().name, labels, classes, _part(train, classes, root, labels))
        _check_link(test, root)
        part = _part(train, classes, root, labels)
        return SplitSource(root.resolve().name, labels, classes, part, lambda: _part(test, classes, root, labels))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _folders(root))
    if not names:
        raise Refused(f"folder {root} holds no class folders, expected {root}/CLASS/IMAGE")
    spelled: dict[str, str] = {}
    for name in names:
        other = spelled.setdefault(name.strip().casefold(), name)
        if other != name:
            raise Refused(f"class folders {other!r} and {name!r} of {root} differ in case only, expected one folder")
    return names


def _part(folder_of_classes: Path, classes: tuple[str, ...], root: Path, labels: Labels) -> EncodedPart:
    files: list[Path] = []
    numbers: list[int] = []
    for folder in _folders(folder_of_classes):
        if folder.name not in classes:
            raise unknown(f"class folder of {folder_of_classes}", folder.name, classes)
        _check_link(folder, root)
        found = _files(folder, root)
        if not found and len(classes) > 1:
            raise Refused(f"class folder {folder} holds no images")
        files += found
        numbers += [classes.index(folder.name)] * len(found)
    where = str(folder_of_classes)
    return EncodedPart(where, labels.read(numbers, where, classes), _Files(files))


@dataclass(frozen=True, eq=False)
class _Files:
    """Image files by their number; a value that can be sent to another process."""

    paths: list[Path]

    def __call__(self, rows: list[int]) -> list[Encoded]:
        return [from_file(str(self.paths[row]), self.paths[row]) for row in rows]


def _files(folder: Path, root: Path) -> list[Path]:
    """All images below ``folder``; anything else is refused by name, and so is a link that leaves ``root``."""
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.name in IGNORED:
            continue
        _check_link(path, root)
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


def _check_link(path: Path, root: Path) -> None:
    """Data from anyone must not make poise read files elsewhere."""
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        raise Refused(f"{path} is a link out of {root} (to {path.resolve()}), expected the files themselves")
