"""Image datasets of the Hugging Face Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poise.data.arrow import class_names, kinds_of
from poise.data.decode import Encoded, from_bytes, from_file
from poise.data.label_columns import read_columns
from poise.data.labels import ClassIds, Labels, Masks
from poise.data.masked import MaskedPart, encoded_masks
from poise.data.parts import EncodedPart, Part
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource
from poise.errors import Refused
from poise.extras import check_extra

PREFIX = "hf:"
PREFERRED = ("image", "img", "label", "fine_label")  # where a dataset has several columns of a kind
TEST_NAMES = ("test", "validation", "valid", "val")
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)  # neither .. nor an absolute path


@SOURCES.add("hub")
class Hub:
    """An image dataset of the Hugging Face Hub (none of its code is run): hf:owner/name."""

    form = "hf:owner/name"

    @classmethod
    def matches(cls, spec: object) -> bool:
        return isinstance(spec, str) and spec.startswith(PREFIX)

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        name = str(spec)
        check_extra("hub", name)
        splits = _download(name)
        if "train" not in splits:
            raise Refused(f"{name} has the splits {', '.join(splits)}, expected one called train")
        train = splits["train"]
        image = _column(train, name, "Image")
        columns = _label_columns(train, name, labels)
        part, names = _part(train, image, columns, f"the training split of {name}", labels)
        held = next((splits[key] for key in TEST_NAMES if key in splits), None)
        where = f"the test split of {name}"
        test = None if held is None else lambda: _part(held, image, columns, where, labels, names)[0]
        return SplitSource.with_test(name, labels, names, part, test)


def _download(name: str) -> Any:
    import datasets

    repository = name.removeprefix(PREFIX)
    if not NAME.fullmatch(repository):
        raise Refused(f"{name!r} is not the name of a Hub dataset, expected hf:owner/name")
    try:
        return datasets.load_dataset(repository)
    except Exception as error:  # the library raises its own, the network's and the file system's errors alike
        reason = str(error).splitlines()
        raise Refused(f"cannot load {name}: {reason[0] if reason else type(error).__name__}") from error


def _column(split: Any, name: str, kind: str) -> str:
    found = [column for column, feature in split.features.items() if type(feature).__name__ == kind]
    best = [column for column in PREFERRED if column in found]
    if not found:
        raise Refused(f"{name} has no {kind} column, found {', '.join(split.features)}")
    if len(found) > 1 and not best:
        raise Refused(f"{name} has several {kind} columns: {', '.join(found)}; expected one")
    return best[0] if best else found[0]


def _label_columns(split: Any, name: str, labels: Labels) -> tuple[str, ...]:
    """Of one class for each image, the column that says it of itself; else as in any table."""
    if isinstance(labels, ClassIds) and not labels.columns:
        return (_column(split, name, "ClassLabel"),)
    return labels.choose(kinds_of(split.features.arrow_schema), name)


def _part(
    split: Any, image: str, columns: tuple[str, ...], where: str, labels: Labels, names: tuple[str, ...] = ()
) -> tuple[Part, tuple[str, ...]]:
    cells = _encoded_cells(split, image, where)
    names = names or (class_names(split.features.arrow_schema, columns[0]) if len(columns) == 1 else ())
    if isinstance(labels, Masks):
        masks = encoded_masks(_encoded_cells(split, columns[0], f"{columns[0]!r} of {where}"))
        part = MaskedPart.of(where, len(split), cells, masks, labels, names)
        return part, part.names
    read, names = read_columns(labels, {column: list(split[column]) for column in columns}, where, names)
    return EncodedPart(where, read, cells), names


def _encoded_cells(split: Any, column: str, where: str) -> TableCells:
    import datasets

    return TableCells(split.select_columns([column]).cast_column(column, datasets.Image(decode=False)), column, where)


@dataclass(frozen=True, eq=False)
class TableCells:
    """The encoded images of some rows of a ``datasets.Dataset``; a value that can be sent to another process."""

    table: Any
    column: str
    where: str

    def __call__(self, rows: list[int]) -> list[Encoded]:
        cells = self.table[rows][self.column]
        return [_encoded(f"row {row} of {self.where}", cell) for row, cell in zip(rows, cells, strict=True)]


def _encoded(name: str, cell: Any) -> Encoded:
    content, path = (cell or {}).get("bytes"), (cell or {}).get("path")
    if content is None and path is not None:
        return Encoded(name, lambda: _checked(name, Path(path)).open())
    return from_bytes(name, content)


def _checked(name: str, path: Path) -> Encoded:
    """A dataset names files as it likes; only what was downloaded for it is opened."""
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    caches = [Path(folder).resolve() for folder in (datasets.config.HF_DATASETS_CACHE, HF_HUB_CACHE)]
    if not any(path.resolve().is_relative_to(folder) for folder in caches):
        raise Refused(f"{name} points at {path}, which is outside of what was downloaded")
    return from_file(name, path)
