"""A CSV file with the paths of images and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poise.data.csv_table import CsvTable, read_csv
from poise.data.files import TEST_NAMES, ImageFiles
from poise.data.label_columns import read_columns
from poise.data.labels import Labels, Masks
from poise.data.masked import MaskedPart, encoded_masks
from poise.data.parts import EncodedPart, Part
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource
from poise.errors import Refused, unknown
from poise.image_files import SUFFIXES
from poise.named import path_of

IMAGE_COLUMNS = ("image", "images", "img", "file", "path", "filename", "file_name")
SPLIT = "split"


@SOURCES.add("csv")
class Csv:
    """A .csv file: paths of images (relative to it), columns of labels, and perhaps one called split (train, test)."""

    form = "a .csv file"

    @classmethod
    def matches(cls, spec: object) -> bool:
        path = path_of(spec)
        return path is not None and path.suffix.lower() == ".csv"

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        path = Path(str(spec)).expanduser()
        if not path.is_file():
            raise Refused(f"no such file: {path}")
        table = read_csv(path)
        image = next((name for name in IMAGE_COLUMNS if name in table.columns), None)
        if image is None:
            raise Refused(
                f"{path.name} has no column of images, expected one of {', '.join(IMAGE_COLUMNS)}, found "
                f"{', '.join(table.columns)}"
            )
        splits = _splits(table)
        train = table.chosen(splits["train"])
        kinds = {name: train.kind(name) for name in table.columns if name != SPLIT} | {image: "image"}
        columns = {name: kinds[name] for name in labels.choose(kinds, path.name)}
        part, names = _part(train, image, columns, labels)
        rows = splits.get("test")
        test = None if rows is None else lambda: _part(table.chosen(rows), image, columns, labels, names)[0]
        return SplitSource.with_test(path.stem, labels, names, part, test)


def _splits(table: CsvTable) -> dict[str, list[int]]:
    """Split -> its rows. Without a column that says it, all are "train"."""
    if SPLIT not in table.columns:
        return {"train": list(range(len(table.rows)))}
    said: dict[str, list[int]] = {}
    for row, name in enumerate(table.texts(SPLIT)):
        if name not in ("train", *TEST_NAMES):
            raise unknown(f"split in line {table.lines[row]} of {table.path.name}", name, ("train", *TEST_NAMES))
        said.setdefault(name, []).append(row)
    if "train" not in said:
        raise Refused(f"{table.path.name} has no row whose {SPLIT} is train")
    test = next((said[name] for name in TEST_NAMES if name in said), None)
    return {"train": said["train"]} | ({} if test is None else {"test": test})


def _part(
    table: CsvTable, image: str, columns: Mapping[str, str], labels: Labels, names: tuple[str, ...] = ()
) -> tuple[Part, tuple[str, ...]]:
    where, files = table.path.name, ImageFiles(_paths(table, image))
    if isinstance(labels, Masks):
        masks = encoded_masks(ImageFiles(_paths(table, next(iter(columns)))))
        part = MaskedPart.of(where, len(table.rows), files, masks, labels, names)
        return part, part.names
    cells = {column: table.values(column, kind) for column, kind in columns.items()}
    read, names = read_columns(labels, cells, where, names)
    return EncodedPart(where, read, files), names


def _paths(table: CsvTable, column: str) -> list[Path]:
    """The files that a column names. Raises `Refused` for one outside of the table's folder, or that does not exist."""
    folder = table.path.parent
    inside, found = folder.resolve(), []
    for line, name in zip(table.lines, table.texts(column), strict=True):
        path = folder / name
        where = f"line {line} of {table.path.name}"
        if Path(name).suffix.lower() not in SUFFIXES:
            raise Refused(f"{where} names {name!r}, which is no image, expected {', '.join(sorted(SUFFIXES))}")
        try:
            outside, there = not path.resolve().is_relative_to(inside), path.is_file()
        except (OSError, ValueError):  # no file can have that name
            outside, there = False, False
        if outside:
            raise Refused(f"{where} names {name!r}, which is outside of {folder}, expected a path below it")
        if not there:
            raise Refused(f"{where} names {name!r}, but there is no file {path}")
        found.append(path)
    return found
