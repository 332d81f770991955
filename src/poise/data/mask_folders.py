"""Folders of images and of masks: which image has which mask."""

from __future__ import annotations

from pathlib import Path

from poise.data.files import TEST_NAMES, ImageFiles, check_link, images_below
from poise.data.labels.masks import Masks
from poise.data.masked import MaskedPart, encoded_masks
from poise.data.text import read_file
from poise.errors import Refused

IMAGES, MASKS, NAMES = "images", "masks", "classes.txt"


def mask_folders(root: Path) -> dict[str, Path]:
    """Split -> the folder that holds its ``images`` and ``masks``; empty where there are none. Without a split of its
    own, ROOT itself is "train"."""
    if not root.is_dir():
        return {}
    train = next((folder for folder in (root / "train", root) if _holds(folder)), None)
    if train is None:
        return {}
    test = next((root / name for name in TEST_NAMES if _holds(root / name)), None)
    return {"train": train} if test is None or train == root else {"train": train, "test": test}


def masked_part(folder: Path, root: Path, reading: Masks, names: tuple[str, ...] = ()) -> MaskedPart:
    """The images of ``folder`` with their masks. Raises `Refused` where one is without the other."""
    images, masks = (_by_stem(folder / name, root) for name in (IMAGES, MASKS))
    for have, lack, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = next((stem for stem in have if stem not in lack), None)
        if alone is not None:
            raise Refused(f"{have[alone]} has no {what}, expected a file {alone} in {folder / (what + 's')}")
    wrong = next((path for path in masks.values() if path.suffix.lower() != ".png"), None)
    if wrong is not None:
        raise Refused(f"mask {wrong} is a {wrong.suffix} file, expected .png, which keeps every class id as it is")
    both = ImageFiles(list(images.values())), encoded_masks(ImageFiles([masks[stem] for stem in images]))
    return MaskedPart.of(str(folder), len(images), *both, reading, names)


def class_names(root: Path) -> tuple[str, ...]:
    """The lines of ``classes.txt``; ``()`` if there is none."""
    path = root / NAMES
    if not path.exists():
        return ()
    names = [line.strip() for line in read_file(path, root).removeprefix("\ufeff").splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names or "" in names:
        raise Refused(f"{path} has an empty line, expected the name of a class in each, that of class 0 in the first")
    return tuple(names)


def _holds(folder: Path) -> bool:
    return (folder / IMAGES).is_dir() and (folder / MASKS).is_dir()


def _by_stem(folder: Path, root: Path) -> dict[str, Path]:
    check_link(folder, root)
    found: dict[str, Path] = {}
    for path in images_below(folder, root):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise Refused(f"{found[stem]} and {path} have the same name but for their endings, expected one of them")
        found[stem] = path
    return found
