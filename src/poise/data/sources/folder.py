"""Image files in one folder per class."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from poise.data.decode import Encoded
from poise.data.parts import EncodedPart
from poise.data.source import SOURCES, Source, path_of
from poise.data.split_source import SplitSource, held_out
from poise.errors import Refused

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
IGNORED = frozenset({"Thumbs.db", "desktop.ini"})  # left behind by file managers, as hidden files are
TEST_NAMES = ("test", "val", "valid", "validation")


@SOURCES.add("folder")
class Folder:
    """A folder of class folders: ROOT/train/CLASS/* and ROOT/test|val/CLASS/*, or ROOT/CLASS/* (a fifth held out)."""

    form = "a folder of class folders"

    @classmethod
    def matches(cls, spec: object) -> bool:
        path = path_of(spec)
        return path is not None and path.is_dir() and not any(path.glob("*.parquet"))

    @classmethod
    def open(cls, spec: object) -> Source:
        root = Path(str(spec)).expanduser()
        train = root / "train"
        if not train.is_dir() or not _folders(train):
            classes = _class_names(root)
            return held_out(root.resolve().name, classes, _part(root, classes))
        classes = _class_names(train)
        test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
        if test is None:
            return held_out(root.resolve().name, classes, _part(train, classes))
        return SplitSource(root.resolve().name, classes, _part(train, classes), lambda: _part(test, classes))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _folders(root))
    if not names:
        raise Refused(f"folder {root} holds no class folders, expected {root}/CLASS/IMAGE")
    return names


def _part(root: Path, classes: tuple[str, ...]) -> EncodedPart:
    files: list[Path] = []
    labels: list[int] = []
    for folder in _folders(root):
        if folder.name not in classes:
            raise Refused(f"class folder {folder} does not exist in the training split (it has {', '.join(classes)})")
        found = _files(folder)
        if not found and len(classes) > 1:
            raise Refused(f"class folder {folder} holds no images")
        files += found
        labels += [classes.index(folder.name)] * len(found)

    def fetch(rows: list[int]) -> list[Encoded]:
        return [_encoded(files[row]) for row in rows]

    return EncodedPart(str(root), torch.tensor(labels, dtype=torch.int64), fetch)


def _files(folder: Path) -> list[Path]:
    """All images below ``folder``; anything else is refused by name."""
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.name in IGNORED or path.is_dir():
            continue
        if path.suffix.lower() not in SUFFIXES:
            raise Refused(f"{path} is not an image, expected {', '.join(sorted(SUFFIXES))}")
        found.append(path)
    return found


def _encoded(path: Path) -> Encoded:
    return Encoded(str(path), lambda: Image.open(path))
