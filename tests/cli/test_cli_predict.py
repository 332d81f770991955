"""`poise predict`: what is written where, exit codes, and what is left alone."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import poise as library
from conftest import Poise


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of 8×8 colour images and three classes."""
    draw, labels = np.random.default_rng(0), np.arange(60) % 3
    pixels = draw.integers(0, 120, (60, 3, 8, 8))
    pixels[np.arange(60), labels] += 120
    root = tmp_path_factory.mktemp("net")
    np.savez(root / "images.npz", images=pixels.astype(np.uint8), labels=labels)
    genotype = library.Genotype.parse("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|")
    settings = {"train.epochs": 1, "train.batch_size": 16, "train.channels": 2, "train.cells": 1}
    library.train(genotype, root / "images.npz", preset="demo", settings=settings, out=root / "net")
    return root / "net"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images, and one that cannot be read."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "more/c.png", "=d.png")):
        Image.new("RGB", (8, 8), (number * 60, 0, 100)).save(folder / name)
    (folder / "bad.png").write_bytes(b"no image")
    return folder


NAMES = ["photos/=d.png", "photos/a.png", "photos/b.jpg", "photos/bad.png", "photos/more/c.png"]


def test_csv_on_standard_output(poise: Poise, net: Path, photos: Path) -> None:
    done = poise("predict", net, "photos")
    assert done.code == 1
    assert done.err.splitlines() == [
        "note: cannot read image photos/bad.png: cannot identify image file 'photos/bad.png'",
        "poise: 1 of 5 images has no prediction",
    ]
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["file"] for row in rows] == NAMES
    assert list(rows[0]) == ["file", "class", "probability", *(f"probabilities/{n}" for n in "012"), "error"]
    found = {one.name: one for one in library.predict(net, photos.relative_to(Path.cwd()))}
    for row in rows:
        one = found[row["file"]]
        assert row["error"] == one.error
        if not one.error:
            assert row["class"] == one["class"]
            assert float(row["probability"]) == pytest.approx(one["probability"], rel=1e-6)
    good = poise("predict", net, "photos/*.jpg", "photos/a.png", "photos/more")
    assert (good.code, good.err) == (0, "")
    assert [row["file"] for row in csv.DictReader(io.StringIO(good.out))] == ["photos/b.jpg", "photos/a.png", NAMES[-1]]


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_files_are_whole_or_not_there(
    poise: Poise, net: Path, photos: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / f"x.{ending}"
    done = poise("predict", net, "photos", "--out", out)
    assert done.code == 1
    assert f"predictions for 4 images are in {out}" in done.out
    text = out.read_text()
    if ending == "csv":
        names = [row["file"] for row in csv.DictReader(io.StringIO(text))]
    else:
        names = [
            each["file"] for each in (json.loads(text) if ending == "json" else map(json.loads, text.splitlines()))
        ]
    assert names == NAMES
    refused = poise("predict", net, "photos/a.png", "--out", out)
    assert (refused.code, out.read_text()) == (2, text)
    assert f"{out} exists; choose another file, or pass --overwrite" in refused.err
    stopped = RuntimeError("in the middle")

    def fails(*_: object) -> None:
        raise stopped

    with monkeypatch.context() as patch:
        patch.setattr("poise.engine.predict.Predictor.__call__", fails)
        with pytest.raises(RuntimeError, match="in the middle"):
            poise("predict", net, "photos/a.png", "--out", out, "--overwrite")
    assert out.read_text() == text
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert poise("predict", net, "photos/a.png", "--out", out, "--overwrite").code == 0
    assert out.read_text() != text


def test_a_terminal_shows_lines_that_fit(
    poise: Poise, net: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("poise.cli.console.console._width", 60)
    done = poise("predict", net, "photos")
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert max(map(len, lines)) <= 60
    assert "probability 0." in lines[0]
    assert "error: cannot read" in lines[3]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["photos", "--out", "x.txt"], "unknown ending of --out '.txt'"),
        (["photos", "--out", "folder.csv"], "cannot write folder.csv: it is a folder"),
        (["photos", "--out", "file"], "cannot write file: it is a file"),
        (["photos", "--out", "photos"], "photos holds files already; choose another folder, or pass --overwrite"),
        (["photos", "--out", "masks"], "a folder for masks, and there are none"),
        (["photos", "--out", "file/x.csv"], "cannot write"),
        (["photos", "--batch-size", "0"], "batch size is 0"),
        (["gone.png"], "no such file or folder: gone.png"),
        (["empty"], "folder empty holds no image files"),
        (["photos/*.gif"], "no file matches photos/*.gif"),
        (["photos", "--device", "gpu"], "unknown device 'gpu'"),
    ],
    ids=" ".join,
)
def test_refusals_write_nothing(
    poise: Poise, net: Path, photos: Path, tmp_path: Path, words: list[str], reason: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    refused = poise("predict", net, *words)
    assert (refused.code, refused.out) == (2, "")
    assert reason in refused.err
    assert refused.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
