"""What kinds of tables share that are CSV: text up to a limit, numbers in columns, and the line of what is wrong."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from poise.errors import Refused, shown
from poise.truth.table import Column

MOST_BYTES = 2**28
"""Of text, once unpacked: 256 MiB."""
HEADER_BYTES = 2**16
"""Of the first line, at most."""


def _start(path: Path, most: int) -> bytes:
    """The first ``most`` bytes of a file, unpacked if its own first bytes say that it is gzip: a small file cannot
    unpack into a huge one."""
    if not path.is_file():
        raise Refused(f"{path} is not a file" if path.exists() else f"no such file: {path}")
    try:
        with path.open("rb") as file:
            return gzip.GzipFile(fileobj=file).read(most) if file.peek(2)[:2] == b"\x1f\x8b" else file.read(most)
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(f"cannot read {path}: {error}") from None


@contextmanager
def _lines(path: Path) -> Iterator[io.TextIOWrapper]:
    content = _start(path, MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise Refused(f"{path} holds more than {MOST_BYTES:,} bytes once unpacked, which is the limit")
    try:
        yield io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text: {error.reason}") from None
    except csv.Error as error:
        raise Refused(f"{path} is not a CSV file: {error}") from None


def header_of(path: Path) -> tuple[str, ...]:
    """The names in the first line of a CSV file; nothing if it is not one. Raises `Refused` if it cannot be read."""
    line = _start(path, HEADER_BYTES).partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    try:
        return tuple(next(csv.reader([line]), ()))
    except csv.Error:
        return ()


def read_columns(
    path: Path, key: str, normal: Callable[[str], str], ignored: Sequence[str] = ()
) -> tuple[list[str], dict[str, Column]]:
    """Read a CSV file of numbers: the texts of one column, and all others as float64 arrays.

    Args:
        path: the file.
        key: the column of architectures.
        normal: text of an architecture -> the text that stands for it; raises `Refused` if it is none.
        ignored: columns that are neither.

    An empty cell becomes NaN. Raises `Refused` with the line (of a row that takes several, the last) if a row has too
    many or too few cells, a cell is no finite number, or an architecture is none or stands there twice.
    """
    texts: dict[str, int] = {}
    with _lines(path) as text:
        reader = csv.reader(text, strict=True)
        names = next(reader, [])
        for name in names:
            if not name or names.count(name) > 1:
                raise Refused(f"{path}, line 1: the column {name!r} {'stands twice' if name else 'has no name'}")
        where = names.index(key)
        values = {number: array("d") for number, name in enumerate(names) if number != where and name not in ignored}
        for row in reader:
            line = reader.line_num
            if not row:
                continue
            if len(row) != len(names):
                raise Refused(f"{path}, line {line}: {len(row)} cells, expected {len(names)}")
            try:
                architecture = normal(row[where])
            except Refused as error:
                raise Refused(f"{path}, line {line}: {error}") from None
            if architecture in texts:
                raise Refused(f"{path}, line {line}: {architecture:.200} stands in line {texts[architecture]} already")
            texts[architecture] = line
            for number, column in values.items():
                try:
                    value = float(row[number]) if row[number] else math.nan
                except ValueError:
                    raise Refused(
                        f"{path}, line {line}: {names[number]} must be a number, got {shown(row[number], 60)}"
                    ) from None
                if row[number] and not math.isfinite(value):
                    raise Refused(f"{path}, line {line}: {names[number]} is not finite: {row[number]:.60}")
                column.append(value)
    return list(texts), {names[number]: np.array(column) for number, column in values.items()}
