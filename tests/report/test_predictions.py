"""Predictions as files: read back they are what was predicted, whatever the names."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.cells import cell_len

from poise.engine.predict import Predicted, Prediction
from poise.errors import Refused
from poise.report.predictions import csv_rows, flat, json_rows, mask_files, summary, terminal_rows

CLASS: Prediction = {"class": "cat", "probability": 0.75, "probabilities": {"cat": 0.75, "=1+1": 0.25}}
HOSTILE = (
    "new\nline.png", "carriage\rreturn.png", 'quo"te,comma.png', "=cmd|'/C calc'!A0.png", "-a.png", "@b.png", "\tc.png",
    "猫.png", "bad\udcff.png",
)  # fmt: skip


def predicted(name: str, prediction: Prediction | None = None, error: str = "") -> Predicted:
    return Predicted(name, PurePath(name).with_suffix(""), prediction or {}, error)


def as_csv(*rows: Predicted, example: Prediction = CLASS) -> str:
    file = io.StringIO()
    with csv_rows(file, example) as row:
        assert [row(one) for one in rows] == [""] * len(rows)
    return file.getvalue()


def as_json(*rows: Predicted, lines: bool) -> str:
    file = io.StringIO()
    with json_rows(file, lines) as row:
        for one in rows:
            row(one)
    return file.getvalue()


def test_flat_makes_columns() -> None:
    told = {"classes": ["cat", "dog"], "p": {"cat": 1.0, "in": {"deep": 2}}, "mask": torch.zeros(2, 2), "n": 3}
    assert flat(told) == {"classes": "cat|dog", "p/cat": 1.0, "p/in/deep": 2, "n": 3}


def test_csv_of_a_class() -> None:
    text = as_csv(predicted("a.png", CLASS), predicted("b.png", error="cannot read image b.png: no"))
    assert text == (
        "file,class,probability,probabilities/cat,probabilities/=1+1,error\n"
        "a.png,cat,0.75,0.75,0.25,\n"
        "b.png,,,,,cannot read image b.png: no\n"
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_and_json_hold_any_name_and_no_formula(name: str) -> None:
    told = CLASS | {"class": "=HYPERLINK(1)", "other": "-1.5"}
    text = as_csv(predicted(name, told), predicted("next.png", told), example=told)
    head, row, after = csv.reader(io.StringIO(text, newline=""))
    assert after[0] == "next.png", "nothing in a name begins a new row"
    cells = dict(zip(head, row, strict=True))
    escaped = name.encode("utf-8", "backslashreplace").decode()
    assert cells["file"] == (f"./{name}" if name[0] in "=-@\t" else escaped)
    assert cells["class"] == "'=HYPERLINK(1)"
    assert cells["other"] == "-1.5", "a number is none"
    for lines in (True, False):
        found = json.loads(as_json(predicted(name, told), lines=lines))
        (one,) = [found] if lines else found
        assert one == {"file": name, "prediction": told}


def test_an_error_may_look_like_a_formula_too() -> None:
    text = as_csv(predicted("=a.png", error="=a.png is 3x4"))
    assert text.splitlines()[1] == "./=a.png,,,,,'=a.png is 3x4"


def test_columns_of_a_prediction_called_as_ours() -> None:
    told: Prediction = {"error": 0.5, "file": 2.0}
    head, row = as_csv(predicted("a.png", told), example=told).splitlines()
    assert (head, row) == ("file,prediction/error,prediction/file,error", "a.png,0.5,2.0,")
    assert json.loads(as_json(predicted("a.png", told), lines=True)) == {"file": "a.png", "prediction": told}


def test_json_lines_and_arrays_of_any_length() -> None:
    rows = [predicted(f"{number}.png", CLASS) for number in range(3)] + [predicted("x.png", error="no")]
    for count in range(5):
        lines = [json.loads(line) for line in as_json(*rows[:count], lines=True).splitlines()]
        assert lines == json.loads(as_json(*rows[:count], lines=False))
        assert len(lines) == count
    assert lines[-1] == {"file": "x.png", "error": "no"}


def test_numbers_have_the_digits_of_a_float32() -> None:
    told: Prediction = {"a": float(np.float32(1 / 3)), "b": 123456789.0, "c": 1}
    assert as_csv(predicted("a", told), example=told).splitlines()[1] == "a,0.3333333,123456800.0,1,"
    assert json.loads(as_json(predicted("a", told), lines=True))["prediction"] == {
        "a": 0.3333333,
        "b": 123456800,
        "c": 1,
    }


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize(
    "name", [*HOSTILE, "a/very/long/path/that/does/not/fit/into/half/a/line/photo.jpg", "猫" * 50, "a.png"]
)
def test_a_terminals_lines_fit(width: int, name: str) -> None:
    file = io.StringIO()
    with terminal_rows(file, width) as row:
        row(predicted(name, CLASS))
        row(predicted(name, error=f"cannot read image {name}: " + "why " * 30))
    lines = file.getvalue().split("\n")
    assert len(lines) == 3, "a name is one line"
    assert all(cell_len(line) <= width for line in lines)
    assert "cat, probability 0.75" in lines[0] or width < 60
    assert "error" in lines[1]
    if name.endswith("photo.jpg"):
        assert "photo.jpg" in lines[0], "the end of a path says most"


def test_a_summary_is_what_matters() -> None:
    assert summary(CLASS) == "cat, probability 0.75"
    assert summary({"classes": [], "probabilities": {"a": 0.1}}) == "no classes"
    assert summary({"classes": ["a", "b"], "probabilities": {"a": 0.9}}) == "a, b"
    assert summary({"height": 1.23456}) == "height 1.235"
    assert summary({"mask": torch.zeros(1, 1), "shares": {"a": 0.2, "b": 0.8}}) == "b 0.8, a 0.2"


def test_masks_have_the_names_of_their_images(tmp_path: Path) -> None:
    masks = [torch.tensor([[0, 1], [2, 255]], dtype=torch.uint8), torch.zeros(1, 3, dtype=torch.uint8)]
    with mask_files(tmp_path / "new") as row:
        assert row(predicted("a.b.jpg", {"mask": masks[0], "shares": {}})) == ""
        assert row(predicted("sub/c.png", {"mask": masks[1], "shares": {}})) == ""
        assert row(predicted("bad.png", error="no")) == ""
        assert "would replace" in row(predicted("sub/c.jpg", {"mask": masks[0], "shares": {}}))
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert [str(path.relative_to(tmp_path)) for path in files] == ["new/a.b.png", "new/sub/c.png"]
    for path, mask in zip(files, masks, strict=True):
        with Image.open(path, formats=("PNG",)) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), mask.numpy())


def test_a_mask_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: dict[str, Any] = {"mask": torch.zeros(1, 1, dtype=torch.uint8)}
    with mask_files(tmp_path / "file") as row, pytest.raises(Refused, match="cannot write"):
        row(predicted("a.png", told))
