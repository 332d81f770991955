"""Predictions as people and programs read them: CSV, JSON, PNG masks, lines that fit a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size
from torch import Tensor

from poise.engine.predict import Predicted, Prediction
from poise.errors import Refused, printable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What spreadsheets take for the beginning of a formula."""
FIRST, LAST = "file", "error"
"""Columns around those of a prediction."""
DIGITS = 7
"""Of a number, as many as a float32 has."""

Row = Callable[[Predicted], str]
"""Writes one prediction; says why if it cannot."""


def flat(prediction: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A prediction as columns: ``probabilities/cat``, lists as ``cat|dog``; masks are left out."""
    found: dict[str, Any] = {}
    for key, value in prediction.items():
        name = prefix + key
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}/")
        elif isinstance(value, list | tuple):
            found[name] = "|".join(map(str, value))
        elif not isinstance(value, Tensor):
            found[name] = value
    return found


@contextmanager
def csv_rows(file: TextIO, example: Prediction) -> Iterator[Row]:
    """One line for each, ``file`` first, ``error`` last; of predictions like ``example``.

    No cell is a formula to a spreadsheet: a file ``=a.png`` is written ``./=a.png``, and any other text that begins
    like one, and is no number, has an apostrophe in front.
    """
    names = list(flat(example))
    head = [f"prediction/{name}" if name in (FIRST, LAST) else name for name in names]
    _line(file, [FIRST, *map(_text, head), LAST])

    def row(one: Predicted) -> str:
        path = f"./{one.name}" if one.name.startswith(FORMULA) else one.name
        found = flat(one.prediction)
        _line(file, [path, *(_text(_rounded(found.get(name, ""))) for name in names), _text(one.error)])
        return ""

    yield row


def _line(file: TextIO, cells: list[Any]) -> None:
    line = io.StringIO()
    csv.writer(line).writerow(cells)  # with its own line ends, so that both characters of them are quoted
    file.write(_encodable(line.getvalue().removesuffix("\r\n") + "\n", file))


def _text(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


@contextmanager
def json_rows(file: TextIO, lines: bool) -> Iterator[Row]:
    """Objects ``{"file": ..., "prediction": {...}}``, or with ``"error"``: one on each line, or as one array."""
    first = True

    def row(one: Predicted) -> str:
        nonlocal first
        told: dict[str, Any] = {"error": one.error} if one.error else {"prediction": _plain(one.prediction)}
        file.write(("" if lines else "[\n" if first else ",\n") + json.dumps({"file": one.name} | told))
        file.write("\n" if lines else "")
        first = False
        return ""

    yield row
    if not lines:
        file.write("[]\n" if first else "\n]\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if not isinstance(inner, Tensor)}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return _rounded(value)


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


@contextmanager
def terminal_rows(file: TextIO, width: int) -> Iterator[Row]:
    """A line of at most ``width`` characters for each: the end of its name, and what is most worth knowing."""

    def row(one: Predicted) -> str:
        name, room = printable(one.name), max(width // 2 - 2, 8)
        while cell_len(name) > room:
            name = f"…{name[2:]}"
        told = printable(f"error: {one.error}" if one.error else summary(one.prediction))
        left = max(width - room - 2, 8)
        told = told if cell_len(told) <= left else f"{set_cell_size(told, left - 1)}…"
        file.write(_encodable(f"{set_cell_size(name, room)}  {told}", file) + "\n")
        return ""

    yield row


def summary(prediction: Mapping[str, Any]) -> str:
    """A prediction in a few words: texts, lists and numbers; where there are none, the greatest of what it holds."""
    parts = []
    for key, value in prediction.items():
        if isinstance(value, str):
            parts.append(value)
        elif isinstance(value, list | tuple):
            parts.append(", ".join(map(str, value)) or f"no {key}")
        elif isinstance(value, int | float):
            parts.append(f"{key} {value:.4g}")
    if not parts:
        inner = [each for value in prediction.values() if isinstance(value, Mapping) for each in value.items()]
        parts = [f"{key} {value:.3g}" for key, value in sorted(inner, key=lambda each: -each[1])[:5]]
    return ", ".join(parts)


def _encodable(text: str, file: TextIO) -> str:
    """What the file's encoding lacks, such as the parts of a name that is not UTF-8, is written as its escape."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def mask_files(folder: Path) -> Iterator[Row]:
    """A PNG for each, called as its image is, pixel value = class; of images of one name only the first gets one.
    Each is written whole or not at all. Raises `Refused` where none can be written."""
    from PIL import Image

    written: set[str] = set()

    def row(one: Predicted) -> str:
        mask = next((value for value in one.prediction.values() if isinstance(value, Tensor)), None)
        if mask is None:
            return ""
        place = os.fspath(one.place)
        if place in written:
            return f"the mask of {one.name} would replace that of another image, which is called {place} too"
        written.add(place)
        path = folder / f"{place}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                Image.fromarray(mask.numpy()).save(temporary, "PNG")
        except OSError as error:
            raise unwritten(path, error) from None
        return ""

    yield row


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a file to be written instead of ``path``, which takes its place at the end if nothing fails."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def unwritten(path: Path, error: OSError) -> Refused:
    """The refusal of a file that cannot be written."""
    return Refused(f"cannot write {path}: {error.strerror or error}")
