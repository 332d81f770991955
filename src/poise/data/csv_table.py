"""A CSV file as columns of numbers or texts; it may come from anyone."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poise.data.text import read_file
from poise.errors import Refused

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,4})?|[+-]?(nan|inf(inity)?)"
FORMS: dict[str, tuple[re.Pattern[str], Callable[[str], float]]] = {
    "whole": (re.compile(r"[+-]?[0-9]{1,18}"), int),
    "number": (re.compile(NUMBER, re.IGNORECASE), float),
}
"""How numbers are written, and what reads them."""


@dataclass(frozen=True, eq=False)
class CsvTable:
    """The cells of a table, as they are written; ``lines``: where in the file each row ends."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def texts(self, column: str) -> list[str]:
        """The cells of a column, without white space around them."""
        index = self.columns.index(column)
        return [row[index].strip() for row in self.rows]

    def values(self, column: str, kind: str) -> list[Any]:
        """A column of a `kind`: numbers as such, None for empty cells, and texts where there should be a number."""
        cells = self.texts(column)
        if kind == "text":
            return list(cells)
        form, number = FORMS[kind]
        return [number(cell) if form.fullmatch(cell) else cell or None for cell in cells]

    def kind(self, column: str) -> str:
        """``whole``, ``number`` or ``text``, as `poise.data.labels.Labels.choose` takes it."""
        cells = [cell for cell in self.texts(column) if cell]
        for kind, (form, _) in FORMS.items():
            if cells and all(form.fullmatch(cell) for cell in cells):
                return kind
        return "text"

    def chosen(self, rows: Sequence[int]) -> CsvTable:
        """Some rows alone."""
        return CsvTable(self.path, self.columns, [self.rows[row] for row in rows], [self.lines[row] for row in rows])


def read_csv(path: Path) -> CsvTable:
    """The table in a file. Cells are separated by what its first line has most of: commas, semicolons or tabs.

    Raises:
        Refused: it cannot be read, is not UTF-8, has no rows, two columns of one name, or a row of another length.
    """
    text = read_file(path, path.parent).removeprefix("\ufeff")
    header = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise Refused(f"line {reader.line_num} of {path.name} is not CSV: {error}") from None
    if len(rows) < 2:
        raise Refused(f"{path.name} has no rows, expected the names of the columns and a row for each image")
    columns = tuple(name.strip() for name in rows[0])
    twice = next((name for name in columns if not name or columns.count(name) > 1), None)
    if twice is not None:
        raise Refused(f"{path.name} has {'a column without a name' if not twice else f'two columns named {twice!r}'}")
    wrong = next((row for row, cells in enumerate(rows) if len(cells) != len(columns)), None)
    if wrong is not None:
        raise Refused(
            f"line {lines[wrong]} of {path.name} has {len(rows[wrong])} cells, expected {len(columns)} "
            f"({', '.join(columns)})"
        )
    return CsvTable(path, columns, rows[1:], lines[1:])
