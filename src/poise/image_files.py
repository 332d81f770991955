"""Image files that a person names: files, folders of them, patterns. Found one after the other, without torch."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from poise.errors import Refused
from poise.named import path_of

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class ImageFile:
    """A file to be read as an image.

    Args:
        path: where it is.
        place: where below the folder that was named, or its name alone; without its ending.
        trouble: why it cannot be read, as far as one can tell without opening it; empty if it can.
    """

    path: Path
    place: PurePath
    trouble: str = ""

    @property
    def name(self) -> str:
        return str(self.path)


def image_files(spec: str | Path) -> Iterator[ImageFile]:
    """What a file, a folder or a pattern such as ``new/*.jpg`` stands for, in the order of the names.

    A folder stands for the image files in it and below, by their endings; what is hidden is passed over, and links out
    of the folder are in trouble. What is there is no pattern. Memory is held for one folder at a time.
    """
    path = path_of(spec)
    assert path is not None
    if os.path.isdir(path):
        yield from _below(path)
    elif _is_pattern(path):
        for found in sorted(map(Path, glob.glob(str(path), recursive=True))):
            yield from _below(found) if os.path.isdir(found) else (_file(found, PurePath(found.stem)),)
    else:
        yield _file(path, PurePath(path.stem))


def check_image_files(specs: Iterable[str | Path]) -> None:
    """Raise `Refused` for a path where nothing is, a pattern that nothing matches, and a folder without images."""
    for spec in specs:
        path = path_of(spec)
        assert path is not None
        missing = _missing(path)
        if missing:
            raise Refused(missing)


def _missing(path: Path) -> str:
    if os.path.isdir(path) or _is_pattern(path):
        if next(image_files(path), None) is not None:
            return ""
        if not os.path.isdir(path):
            return f"no file matches {path}"
        return f"folder {path} holds no image files ({', '.join(sorted(SUFFIXES))})"
    return "" if os.path.lexists(path) else f"no such file or folder: {str(path)[:400]}"


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def _file(path: Path, place: PurePath, root: Path | None = None) -> ImageFile:
    trouble = ""
    if root is not None and os.path.islink(path) and not _inside(path, root):
        trouble = f"it is a link out of {root}"  # data from anyone must not make poise read files elsewhere
    elif os.path.exists(path) and not os.path.isfile(path):  # a pipe would block whoever reads it, for ever
        trouble = "it is not a regular file"
    return ImageFile(path, place, trouble)


def _inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _below(root: Path) -> Iterator[ImageFile]:
    ahead = [iter([root])]  # no recursion: folders may lie deep in each other
    while ahead:
        path = next(ahead[-1], None)
        if path is None:
            ahead.pop()
        elif path != root and not (os.path.isdir(path) and not os.path.islink(path)):
            if path.suffix.lower() in SUFFIXES:
                yield _file(path, path.relative_to(root).with_suffix(""), root)
        else:
            try:
                with os.scandir(path) as entries:
                    names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
            except OSError as error:
                yield ImageFile(path, path.relative_to(root), error.strerror or str(error))
            else:
                ahead.append(map(path.joinpath, names))
