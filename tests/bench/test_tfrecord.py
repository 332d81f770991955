"""TFRecord files and protocol buffers: against the formats' published examples, and against damage."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from poise.errors import Refused
from poise.truth.tfrecord import BLOCK, LARGEST, crc32c, masked, message, records


def record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked(head)) + data + struct.pack("<I", masked(data))


def test_the_checksum_gives_the_values_of_rfc_3720() -> None:
    """Appendix B.4: zeros, ones, counting up, counting down; and the common check value."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(bytes(range(31, -1, -1))) == 0x113FDB5C
    assert crc32c(b"123456789") == 0xE3069283


def test_the_checksum_of_any_length_is_that_of_the_bits_one_by_one() -> None:
    data = random.Random(0).randbytes(2 * BLOCK + 40)
    value = 0xFFFFFFFF
    for length, byte in enumerate(data):
        assert crc32c(data[:length]) == value ^ 0xFFFFFFFF, length
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)


def test_a_file_of_known_bytes(tmp_path: Path) -> None:
    """The record of the single byte 'a', its masked checksums worked out by another implementation's rule."""
    path = tmp_path / "a.tfrecord"
    path.write_bytes(record(b"first") + record(b"") + record(b"third" * 100))
    assert list(records(path)) == [b"first", b"", b"third" * 100]
    rotated = ((crc32c(b"first") >> 15) | (crc32c(b"first") << 17)) & 0xFFFFFFFF
    assert path.read_bytes()[12 + 5 : 12 + 9] == struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    good = record(b"first") + record(b"second")
    for cut in range(1, len(good)):
        if cut == len(record(b"first")):
            continue
        path.write_bytes(good[:cut])
        with pytest.raises(Refused, match=r"damaged|cut off"):
            list(records(path))
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(Refused, match=r"record \d of .* is (damaged|cut off)"):
            list(records(path))
    head = struct.pack("<Q", LARGEST + 1)
    path.write_bytes(head + struct.pack("<I", masked(head)))
    with pytest.raises(Refused, match="more than"):
        list(records(path))
    with pytest.raises(Refused, match="cannot read"):
        list(records(tmp_path / "none"))


def test_messages_are_those_of_the_published_examples() -> None:
    """Protocol Buffers' own pages: 150 in field 1, the text "testing" in field 2, a message within a message."""
    assert list(message(b"\x08\x96\x01")) == [(1, 150)]
    assert list(message(b"\x12\x07testing")) == [(2, b"testing")]
    assert list(message(b"\x1a\x03\x08\x96\x01")) == [(3, b"\x08\x96\x01")]
    double, single = b"\x11" + struct.pack("<d", 0.1), b"\x1d" + struct.pack("<f", 0.5)
    assert list(message(double + single + b"\x08\x00")) == [(2, 0.1), (3, 0.5), (1, 0)]
    assert list(message(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")) == [(1, 2**64 - 1)]
    assert list(message(b"")) == []


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x08\x96", b"\x12\x07testin", b"\x11\x00", b"\x0b", b"\x08" + b"\xff" * 10 + b"\x01"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="not a protocol buffer"):
        list(message(data))
