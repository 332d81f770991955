"""Image files in one folder per class."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from poise.data.files import TEST_NAMES, ImageFiles, check_link, images_below
from poise.data.labels import ClassIds, Labels
from poise.data.labels.kinds import ADVICE
from poise.data.mask_folders import mask_folders
from poise.data.parts import EncodedPart
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource
from poise.data.text import text_files
from poise.errors import Refused, unknown
from poise.named import path_of


@SOURCES.add("folder")
class Folder:
    """A folder of class folders: ROOT/train/CLASS/* and ROOT/test|val/CLASS/*, or ROOT/CLASS/* (a fifth held out)."""

    form = "a folder of class folders"

    @classmethod
    def matches(cls, spec: object) -> bool:
        path = path_of(spec)
        return (
            path is not None
            and path.is_dir()
            and not (any(path.glob("*.parquet")) or text_files(path) or mask_folders(path))
        )

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        root = Path(str(spec)).expanduser()
        if not isinstance(labels, ClassIds):
            raise Refused(
                f"folder {root} was read as class folders, expected {labels.what}; {ADVICE['classification']}"
            )
        train, test = root / "train", None
        if train.is_dir() and _folders(train):
            check_link(train, root)
            test = next((root / name for name in TEST_NAMES if (root / name).is_dir()), None)
        else:
            train = root
        classes = _class_names(train)
        if test is not None:
            check_link(test, root)
        read = partial(_part, classes=classes, root=root, labels=labels)
        tested = None if test is None else partial(read, test)
        return SplitSource.with_test(root.resolve().name, labels, classes, read(train), tested)


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
        check_link(folder, root)
        found = images_below(folder, root)
        if not found and len(classes) > 1:
            raise Refused(f"class folder {folder} holds no images")
        files += found
        numbers += [classes.index(folder.name)] * len(found)
    where = str(folder_of_classes)
    return EncodedPart(where, labels.read(numbers, where, classes), ImageFiles(files))
