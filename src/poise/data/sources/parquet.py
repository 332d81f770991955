"""Parquet files with encoded images, as the Hub stores image datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from poise.data.arrow import class_names, kinds_of
from poise.data.decode import Encoded, from_bytes
from poise.data.label_columns import read_columns
from poise.data.labels import Labels, Masks
from poise.data.masked import MaskedPart, encoded_masks
from poise.data.parts import EncodedPart, Part
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource
from poise.errors import Refused
from poise.extras import check_extra, missing
from poise.named import path_of

IMAGE_COLUMNS = ("img", "image", "images")
TEST_PREFIXES = ("test", "val")
MAX_BYTES = 2**34  # of one column of one file, uncompressed: 16 GiB
HELD = 2**30  # of the images of a split, encoded: 1 GiB


@SOURCES.add("parquet")
class Parquet:
    """A .parquet file (a fifth held out), or a folder of train*.parquet and test*.parquet, with encoded images."""

    form = "a .parquet file or a folder of them"

    @classmethod
    def matches(cls, spec: object) -> bool:
        path = path_of(spec)
        return path is not None and (path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))))

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        path = Path(str(spec)).expanduser()
        if path.is_dir():
            return _open_folder(path, labels)
        if not path.is_file():
            raise Refused(f"no such file: {path}")
        return _source(path.stem, [path], [], labels)


def _open_folder(folder: Path, labels: Labels) -> Source:
    files = sorted(folder.glob("*.parquet"))
    train = [path for path in files if path.name.startswith("train")]
    if not train:
        found = ", ".join(path.name for path in files[:5])
        raise Refused(f"folder {folder} holds {found}, expected files named train*.parquet and test*.parquet")
    chosen = ([path for path in files if path.name.startswith(prefix)] for prefix in TEST_PREFIXES)
    return _source(folder.resolve().name, train, next(filter(None, chosen), []), labels)


def _source(name: str, train: list[Path], test: list[Path], labels: Labels) -> Source:
    part, names = _part(train, labels)
    return SplitSource.with_test(name, labels, names, part, (lambda: _part(test, labels, names)[0]) if test else None)


def _part(files: list[Path], labels: Labels, names: tuple[str, ...] = ()) -> tuple[Part, tuple[str, ...]]:
    """The images, and the names that the files have for their labels, unless they are known already.

    Labels are read at once; the bytes of the images when the first image is asked for.
    """
    where = files[0].name if len(files) == 1 else f"{files[0].name} .. {files[-1].name}"
    images = _image_column(files[0])
    schema = _schema(files[0])
    columns = labels.choose(kinds_of(schema), str(files[0]))
    cells = _Cells(tuple(files), images, where)
    if missing("hub") and cells.too_large:
        check_extra("hub", f"{where}, of more than {HELD:,} bytes,")
    if isinstance(labels, Masks):
        masks = encoded_masks(_Cells(tuple(files), columns[0], f"{columns[0]!r} of {where}"))
        count = sum(_opened(path, images)[0].metadata.num_rows for path in files)
        part = MaskedPart.of(where, count, cells, masks, labels, names)
        return part, part.names
    if len(columns) == 1:
        names = names or class_names(schema, columns[0])
    read = {column: _read(files, column).to_pylist() for column in columns}
    found, names = read_columns(labels, read, where, names)
    return EncodedPart(where, found, cells), names


@dataclass(frozen=True, eq=False)
class _Cells:
    """The encoded images of some rows. Up to `HELD` bytes are held in memory; what is more is put once into a file that
    is mapped into memory, in the cache of ``datasets``, since rows of a parquet file cannot be read one by one.

    A value that can be sent to another process, which opens the files itself.
    """

    files: tuple[Path, ...]
    column: str
    where: str

    def __call__(self, rows: list[int]) -> list[Encoded]:
        cells = self._take(rows)
        contents = (cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells)
        return [from_bytes(f"row {row} of {self.where}", each) for row, each in zip(rows, contents, strict=True)]

    @property
    def too_large(self) -> bool:
        """Whether it is put into a file."""
        return sum(_opened(path, self.column)[1] for path in self.files) > HELD

    @cached_property
    def _take(self) -> Callable[[list[int]], list[Any]]:
        if self.too_large:
            table = self._mapped()
            return lambda rows: table[rows][self.column].to_pylist()
        held = _read(self.files, self.column).combine_chunks()  # or every take would put all chunks together
        return lambda rows: held.take(pa.array(rows, pa.int64())).to_pylist()

    def _mapped(self) -> Any:
        import datasets

        try:
            table = datasets.Dataset.from_parquet([str(path) for path in self.files], columns=[self.column])
        except Exception as error:  # the library raises its own, Arrow's and the file system's errors alike
            cause = str(error.__cause__ or error).splitlines()
            raise Refused(f"cannot read {self.where}: {cause[0] if cause else type(error).__name__}") from error
        return table.with_format("arrow")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_take"}


def _read(files: Sequence[Path], column: str) -> pa.ChunkedArray:
    chunks: list[pa.Array] = []
    for path in files:
        try:
            read = _opened(path, column)[0].read([column])[column]
        except (OSError, pa.ArrowException) as error:
            raise Refused(f"cannot read {path}: {error}") from None
        chunks += [chunk.field("bytes") if pa.types.is_struct(chunk.type) else chunk for chunk in read.chunks]
    return pa.chunked_array(chunks) if chunks else pa.chunked_array([], pa.int64())


def _opened(path: Path, column: str) -> tuple[Any, int]:
    """A file, and how many bytes a column says that it unpacks to. Raises `Refused` if it has no such column, or one of
    more than ``MAX_BYTES``."""
    if column not in _schema(path).names:
        raise Refused(f"{path} has no column {column!r}, found {', '.join(_schema(path).names)}")
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise Refused(f"cannot read {path}: {error}") from None
    total = 0
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        chunks = (group.column(each) for each in range(group.num_columns))
        total += sum(each.total_uncompressed_size for each in chunks if each.path_in_schema.split(".")[0] == column)
    if total > MAX_BYTES:
        raise Refused(f"{column!r} of {path} holds {total} bytes, more than the limit of {MAX_BYTES}")
    return file, total


def _schema(path: Path) -> Any:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise Refused(f"{path} is not a parquet file: {error}") from None


def _image_column(path: Path) -> str:
    schema = _schema(path)
    column = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    if column is None:
        raise Refused(
            f"{path} has no image column, expected one of {', '.join(IMAGE_COLUMNS)}, found {', '.join(schema.names)}"
        )
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise Refused(f"column {column!r} of {path} is {kind}, expected the bytes of image files")
    return column
