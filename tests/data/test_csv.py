"""CSV files: what is in their columns, in every way that they are written, and every way that they are wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from data_helpers import noise
from hypothesis import given
from hypothesis import strategies as st
from label_helpers import line
from PIL import Image

from poise.data import open_source
from poise.data.csv_table import read_csv
from poise.data.labels import ClassIds, ClassSets, Masks, Numbers
from poise.errors import Refused


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for row in range(8):
        Image.fromarray(noise(4, 4, 3, seed=row)).save(tmp_path / "photos" / f"{row}.png")
    return tmp_path


def table(root: Path, header: str, rows: list[str], ends: str = "\n") -> Path:
    text = ends.join([header, *(f"photos/{row}.png{rest}" for row, rest in enumerate(rows))])
    (root / "x.csv").write_bytes((text + ends).encode("utf-8"))
    return root / "x.csv"


@pytest.mark.parametrize(
    ("text", "columns", "cells"),
    [
        ("a,b\n1,2\n", ("a", "b"), [["1", "2"]]),
        ("\ufeffa,b\r\n1,2\r\n\r\n", ("a", "b"), [["1", "2"]]),
        ("a;b\n1,5;2\n", ("a", "b"), [["1,5", "2"]]),
        ("a\tb\n1\t2", ("a", "b"), [["1", "2"]]),
        ('a,b\n"x, ""y""\nz",2\n', ("a", "b"), [['x, "y"\nz', "2"]]),
        (" a , b\n 1 ,2\n", ("a", "b"), [[" 1 ", "2"]]),
    ],
)
def test_tables(text: str, columns: tuple[str, ...], cells: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode("utf-8"))
    read = read_csv(tmp_path / "x.csv")
    assert (read.columns, read.rows) == (columns, cells)


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", " 3 "], "whole", [1, -2, 3]),
        (["1", "2.5", "-1e3", ".5"], "number", [1.0, 2.5, -1000.0, 0.5]),
        (["1", "", "2"], "whole", [1, None, 2]),
        (["1", "x"], "text", ["1", "x"]),
        (["", ""], "text", ["", ""]),
        (["1_000", "2"], "text", ["1_000", "2"]),
        (["٣", "2"], "text", ["٣", "2"]),
    ],
)
def test_what_columns_hold(cells: list[str], kind: str, values: list[object], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f'"{cell}",x\n' for cell in cells), encoding="utf-8")
    read = read_csv(tmp_path / "x.csv")
    assert (read.kind("a"), read.values("a", read.kind("a"))) == (kind, values)


@given(
    st.lists(
        st.tuples(*[st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**17), 10**17)] * 2), min_size=1
    )
)
def test_any_numbers_come_back(rows: list[tuple[float, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_text("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in rows))
        read = read_csv(path)
        assert read.values("a", "number") == [float(a) for a, _ in rows]
        number = int if read.kind("b") == "whole" else float
        assert read.values("b", read.kind("b")) == [number(b) for _, b in rows]


@given(
    st.binary(max_size=80) | st.text(alphabet='a,;"\n\r\t0.1\0é', max_size=60).map(lambda text: text.encode("utf-8"))
)
def test_any_bytes_are_a_table_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(content)
        try:
            read = read_csv(path)
        except Refused:
            return
        assert read.rows
        assert all(len(row) == len(read.columns) for row in read.rows)


def test_names_of_classes(root: Path) -> None:
    source = open_source(table(root, "image,label", [",cat", ",dog", ",ant", ",cat"] * 2), ClassIds())
    assert source.names == ("ant", "cat", "dog")
    assert sorted(torch.cat([source.labels("train"), source.labels("test")]).tolist()) == [0, 0, 1, 1, 1, 1, 2, 2]


def test_ids_of_classes(root: Path) -> None:
    (root / "x.csv").write_text("label,path\n" + "".join(f"{row % 2},photos/{row}.png\n" for row in range(8)))
    source = open_source(root / "x.csv")
    assert source.names == ("0", "1")
    images = source.load("train")
    known = {noise(4, 4, 3, seed=row).transpose(2, 0, 1).tobytes(): row % 2 for row in range(8)}
    assert [known[image.numpy().tobytes()] for image in images.pixels] == images.labels.tolist()


def test_one_column_for_each_class(root: Path) -> None:
    source = open_source(table(root, "image,cat,dog", [",0,1", ",1,1"] * 4), ClassSets())
    assert source.names == ("cat", "dog")
    assert source.labels("train").unique(dim=0).tolist() == [[0, 1], [1, 1]]
    path = table(root, "image,cat,age", [",0,1", ",1,7"] * 4)
    assert "hold 7, expected 0 or 1 for every class" in line(lambda: open_source(path, ClassSets()))
    assert "one class for each example is for --task classification" in line(
        lambda: open_source(path, ClassSets(("cat",)))
    )


def test_columns_of_numbers(root: Path) -> None:
    path = table(root, "image,note,age,size", [f",x,{row},{row / 8}" for row in range(8)])
    assert open_source(path, Numbers()).names == ("age", "size")
    source = open_source(path, Numbers(("size",)))
    assert source.names == ("size",)
    both = torch.cat([source.labels("train"), source.labels("test")])
    assert sorted(both.flatten().tolist()) == [row / 8 for row in range(8)]
    assert "unknown column of" in line(lambda: open_source(path, Numbers(("siz",))))
    assert "found 'x'" in line(lambda: open_source(path, Numbers(("note",))))


def test_a_column_says_the_split(root: Path) -> None:
    rows = [",a,train", ",b,train", ",a,train", ",b,train", ",a,test", ",b,test", ",a,val", ",b,val"]
    source = open_source(table(root, "image,label,split", rows))
    assert (len(source.load("train")), len(source.load("test"))) == (4, 2)
    assert source.load("test").labels.tolist() == [0, 1]
    # What is in the test rows does not matter before they are asked for; names of classes stay names.
    rows[4] = ",7,test"
    rows[5] = ",7,test"
    source = open_source(table(root, "image,label,split", rows))
    assert "unknown class of x.csv '7' (valid: a, b)" in line(lambda: source.labels("test"))
    (root / "photos" / "5.png").unlink()
    assert len(open_source(root / "x.csv").load("train")) == 4
    rows[6] = ",a,other"
    path = table(root, "image,label,split", rows)
    assert "unknown split in line 8 of" in line(lambda: open_source(path))
    path = table(root, "image,label,split", [",a,test", ",b,test"])
    assert "has no row whose split is train" in line(lambda: open_source(path))


def test_bad_tables_are_refused(root: Path) -> None:
    def said(content: str | bytes, labels: ClassIds | Numbers | Masks = ClassIds()) -> str:
        (root / "x.csv").write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return line(lambda: open_source(root / "x.csv", labels))

    assert "no such file: " in line(lambda: open_source(root / "y.csv"))
    assert "has no rows" in said("")
    assert "has no rows" in said("image,label\n\n")
    assert "is not UTF-8 text: byte 12" in said(b"image,label\n\xff,1\n")
    assert "line 3 of" in said("image,label\nphotos/0.png,1\nphotos/1.png,1,2\n")
    assert "has 3 cells, expected 2 (image, label)" in said("image,label\nphotos/1.png,1,2\n")
    assert "two columns named 'a'" in said("image,a,a\nphotos/0.png,1,2\n")
    assert "a column without a name" in said("image,,a\nphotos/0.png,1,2\n")
    assert "is not CSV" in said('image,label\n"photos/0.png,1\n')
    assert "has no column of images, expected one of image" in said("picture,label\nphotos/0.png,1\n")
    assert "has no label column, expected one of label" in said("image,age\nphotos/0.png,1\n")
    assert "has no column of numbers" in said("image,label\nphotos/0.png,x\n", Numbers())
    assert "names 'photos/9.png', but there is no file" in said("image,label\nphotos/9.png,1\n")
    assert "line 2 of" in said("image,label\nphotos/9.png,1\n")
    assert "which is no image" in said("image,label\nx.csv,1\n")
    assert "which is outside of" in said("image,label\n../photos/0.png,1\n")
    assert "which is outside of" in said("image,label\n/photos/0.png,1\n")
    assert "has no label (an empty text)" in said("image,label\nphotos/0.png,a\nphotos/1.png,\n")
    assert "are not integers (found None)" in said("image,label\nphotos/0.png,1\nphotos/1.png,\n")
    assert "are not integers (found 0.5), expected class ids from 0; numbers are for --task regression" in said(
        "image,label\nphotos/0.png,0.5\nphotos/1.png,1\n"
    )
    assert "label 1 of x.csv is nan" in said("image,a\nphotos/0.png,0.5\nphotos/1.png,nan\n", Numbers())
    assert "is of mode RGB, expected one channel" in said("image,mask\nphotos/0.png,photos/0.png\n", Masks())
    (root / "photos" / "8.png").symlink_to("/etc/hostname")
    assert "which is outside of" in said("image,label\nphotos/8.png,1\n")
