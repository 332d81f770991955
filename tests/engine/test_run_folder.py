"""What is read from a run's folder: of a bounded size, and a history that a crash cut off."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from poise.engine.run import LARGEST_HISTORY, LARGEST_TEXT, RunFolder, read_genotype, read_text
from poise.errors import Refused


def grow(path: Path, size: int) -> None:
    """Make a file as large as this; what was not written takes no room on the disk."""
    with path.open("a") as file:
        file.truncate(size)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "search", "seed: 0\n", "")


def test_a_text_of_at_most_so_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("größer".encode())
    assert read_text(path, 8) == "größer"
    with pytest.raises(Refused, match=r"text is damaged: it has 8 bytes, expected at most 7"):
        read_text(path, 7)


def test_what_says_that_it_is_empty_is_not_read_without_end() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("there is no such file here")
    with pytest.raises(Refused, match="expected at most 100,000"):
        read_text(Path("/dev/zero"), 100_000)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    end, start = os.pipe()
    os.write(start, b"some text")
    os.close(start)
    try:
        assert read_text(Path(f"/dev/fd/{end}")) == "some text"
    finally:
        os.close(end)


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "genotype.json", "history.jsonl"])
def test_what_is_too_large_is_refused_by_name(name: str, folder: RunFolder) -> None:
    most = LARGEST_HISTORY if name == "history.jsonl" else LARGEST_TEXT
    grow(folder.path / name, most + 1)
    read = {
        "run.json": lambda: RunFolder.open(folder.path, "search"),
        "config.yaml": lambda: RunFolder.proceed(folder.path, "search", "seed: 0\n"),
        "genotype.json": lambda: read_genotype(folder.path / name),
        "history.jsonl": folder.history,
    }[name]
    with pytest.raises(Refused, match=rf"{name} is damaged: it has {most + 1:,} bytes, expected at most {most:,}"):
        read()


def test_neither_is_memory_taken_for_it_nor_more_than_it_takes_for_others(tmp_path: Path) -> None:
    grow(tmp_path / "large", 2**40)
    (tmp_path / "small").write_text("{}")
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="1,099,511,627,776 bytes"):
            read_text(tmp_path / "large", LARGEST_HISTORY)
        assert read_text(tmp_path / "small", LARGEST_HISTORY) == "{}"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


RECORDS = [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 1.25}]


def test_a_history_without_a_file_is_empty(folder: RunFolder) -> None:
    assert folder.history() == []


def test_a_half_written_last_record_is_left_out(folder: RunFolder) -> None:
    folder.rewrite_history(RECORDS)
    whole = (folder.path / "history.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole) - 1):
        (folder.path / "history.jsonl").write_bytes(whole[:end])
        assert folder.history() == RECORDS[:1], end


@pytest.mark.parametrize("line", [b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b"{", b"\0" * 100, b""])
def test_a_line_that_is_no_record_costs_no_other(line: bytes, folder: RunFolder) -> None:
    lines = [json.dumps(record).encode() for record in RECORDS]
    (folder.path / "history.jsonl").write_bytes(b"\n".join([lines[0], line, lines[1], b""]))
    assert folder.history() == RECORDS
