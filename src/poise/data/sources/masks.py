"""Images in one folder and their masks in another."""

from __future__ import annotations

from pathlib import Path

from poise.data.files import check_link
from poise.data.labels import Labels, Masks
from poise.data.labels.kinds import ADVICE
from poise.data.mask_folders import class_names, mask_folders, masked_part
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource
from poise.errors import Refused
from poise.named import path_of


@SOURCES.add("masks")
class MaskFolders:
    """ROOT/images/* and ROOT/masks/*.png of equal names (a fifth held out), or both in ROOT/train and ROOT/test|val."""

    form = "a folder of images/ and masks/"

    @classmethod
    def matches(cls, spec: object) -> bool:
        path = path_of(spec)
        return path is not None and not any(path.glob("*.parquet")) and bool(mask_folders(path))

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        root = Path(str(spec)).expanduser()
        if not isinstance(labels, Masks):
            raise Refused(f"folder {root} holds images and masks, expected {labels.what}; {ADVICE['segmentation']}")
        folders = mask_folders(root)
        for folder in folders.values():
            if folder != root:
                check_link(folder, root)
        name = root.resolve().name
        train = masked_part(folders["train"], root, labels, class_names(root))
        test = None if "test" not in folders else lambda: masked_part(folders["test"], root, labels, train.names)
        return SplitSource.with_test(name, labels, train.names, train, test)
