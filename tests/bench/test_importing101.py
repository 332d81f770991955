"""NAS-Bench-101's file, from records written here byte by byte."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from test_nasbench101 import C1, C3, INCEPTION
from test_tfrecord import record

from poise.errors import Refused
from poise.spaces.nasbench101 import Cell
from poise.truth.importing101 import import_nasbench101


def evaluation(seconds: float, train: float, validation: float, test: float) -> bytes:
    fields = ((1, 0.0), (2, seconds), (3, train), (4, validation), (5, test))
    return b"".join(bytes([number << 3 | 1]) + struct.pack("<d", value) for number, value in fields)


def training(cell: tuple[str, str], end: tuple[float, float, float, float], epochs: int = 108, **changed: Any) -> bytes:
    parts = [evaluation(0, 0.1, 0.1, 0.1), evaluation(end[0] / 2, 0.5, 0.5, 0.5), evaluation(*end)]
    buffer = b"".join(b"\x0a" + bytes([len(part)]) + part for part in parts) + b"\x10\xc0\x84\x3d"  # 1,000,000
    values = {
        "hash": Cell.of_matrix(*cell).hash, "epochs": epochs, "adjacency": cell[0], "operations": cell[1],
        "metrics": base64.b64encode(buffer).decode(),
    }  # fmt: skip
    return record(json.dumps(list((values | changed).values())).encode())


def test_means_over_the_trainings_of_108_epochs(tmp_path: Path) -> None:
    chain = ("010001000", f"input,{C3},output")
    source, target = tmp_path / "a.tfrecord", tmp_path / "a.csv.gz"
    source.write_bytes(
        training(INCEPTION, (100.0, 1.0, 0.9, 0.80))
        + training(chain, (50.0, 0.75, 0.5, 0.25))
        + training(INCEPTION, (300.0, 0.5, 0.8, 0.90))
        + training(INCEPTION, (1.0, 0.0, 0.0, 0.0), epochs=12)
    )
    assert import_nasbench101(source, target) == 2
    head, first, second = gzip.decompress(target.read_bytes()).decode().splitlines()
    assert head == "hash,adjacency,operations,test,validation,train,seconds,params_M"
    assert (
        first
        == f'{Cell.of_matrix(*INCEPTION).hash},{INCEPTION[0]},"{INCEPTION[1]}",85.0000,85.0000,75.0000,200.000,1.0'
    )
    assert second.startswith("b49ac8c578b4561d79ac7087988f1c61,010001000,")
    assert second.endswith(",25.0000,50.0000,75.0000,50.000,1.0")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no training"),
        (b"what is this", "TFRecord"),
        (record(b"{}"), "no training"),
        (record(b"[1, 108, 2, 3, 4]"), "no training"),
        (record(b"\xff\xfe"), "no training"),
        (record(b"[" * 5000), "no training"),
        (training(INCEPTION, (1, 1, 1, 1), metrics="!"), "no training"),
        (training(INCEPTION, (1, 1, 1, 1), metrics="CAE="), "no training"),
        (training(INCEPTION, (1, 1, 1, 1), metrics="CA=="), "no training"),
        (training(INCEPTION, (1, 1, 1, 1), operations=f"input,{C1},output"), "not a cell"),
        (training(INCEPTION, (1, 1, 1, 1), hash="0" * 32), "not the one that its hash"),
        (training(INCEPTION, (1, 1, 1, 1), epochs=12), "holds no training of 108 epochs"),
        (training(INCEPTION, (1, 1, 1, 1.049)), "no training"),
        (training(INCEPTION, (1, 1, -0.1, 1)), "no training"),
        (training(INCEPTION, (1, float("nan"), 1, 1)), "no training"),
        (training(INCEPTION, (-1, 1, 1, 1)), "no training"),
        (training(INCEPTION, (float("inf"), 1, 1, 1)), "no training"),
    ],
)
def test_other_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_bytes(data)
    with pytest.raises(Refused, match=message):
        import_nasbench101(tmp_path / "a.tfrecord", tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_a_flipped_bit_of_the_data_is_refused(tmp_path: Path) -> None:
    """In the base64 text, where another letter makes another, plausible number."""
    good, other = training(INCEPTION, (1, 1, 0.9, 0.8)), training(INCEPTION, (1, 1, 0.9, 0.9))
    place = next(index for index in range(12, len(good)) if good[index] != other[index])
    (tmp_path / "a.tfrecord").write_bytes(other + good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(Refused, match=r"record 1 of .* is damaged: its checksum does not agree"):
        import_nasbench101(tmp_path / "a.tfrecord", tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(Refused, match="exists already"):
        import_nasbench101(tmp_path / "a.tfrecord", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "mine"
