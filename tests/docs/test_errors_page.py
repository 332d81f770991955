"""docs/errors.md is true: its commands are refused, in its words."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from docs_support import ROOT, blocks, commands
from PIL import Image

from poise.cli.main import main

SECTIONS = [
    (words, said.text.strip())
    for shown, said in pairwise(blocks(ROOT / "docs/errors.md"))
    if (shown.language, said.language) == ("sh", "text")
    for words in commands(shown.text)
]
TINY = ("--preset=demo", "--space=nasbench201", "--set=space.channels=2", "--set=search.epochs=1")
"""The search that has ended."""


def image(path: Path, width: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, 8), int(path.stem)).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's commands are given."""
    here = tmp_path_factory.mktemp("errors")
    for number in range(200):
        name = ("dog", "cat")[number % 2]
        for data in ("photos", "stray", "damaged", "sizes", *(["few"] if number < 30 else [])):
            image(here / data / name / f"{number}.png", 9 if (data, number) == ("sizes", 121) else 8)
        image(here / "same" / "cat" / f"{number}.png")
        image(here / "loose" / f"{number}.png")
    (here / "stray/cat/notes.txt").write_text("Which cat is this?")
    (here / "damaged/cat/7.png").write_bytes(b"no image")
    np.savez(here / "ages.npz", images=np.zeros((40, 8, 8), np.uint8), labels=np.linspace(1, 80, 40))
    (here / "table.csv").write_text("picture,label\nphotos/cat/1.png,cat\n")
    with pytest.raises(SystemExit) as ended:
        main(["search", "--data", str(here / "photos"), "--out", str(here / "runs/a"), *TINY])
    assert not ended.value.code
    net = here / "runs" / "a" / "net"  # what looks like a trained network, until it is loaded
    net.mkdir()
    (net / "run.json").write_text(json.dumps({"format": "poise.run", "version": 1, "kind": "train"}))
    (net / "config.yaml").write_text("")
    return here


def test_the_page_has_the_likeliest() -> None:
    assert len(SECTIONS) >= 15
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert len(SECTIONS) == text.count("\n### "), "each with a command and the line that it ends in"


@pytest.mark.parametrize(("words", "line"), SECTIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_line_is_as_shown(
    words: list[str], line: str, folder: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    expected = ".*".join(map(re.escape, line.split("…")))
    assert re.fullmatch(f"poise: {expected}\n", capsys.readouterr().err), line
