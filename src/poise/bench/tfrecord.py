"""Read TFRecord files and the protocol buffers in them, without TensorFlow.

A record is ``length (8 bytes, little-endian) · checksum of the length · data · checksum of the data``, a checksum
being the CRC-32C, rotated right by 15 bits and increased by a constant, in 4 bytes. The lengths' checksums are
verified, since a wrong length would derail everything after it; the data's only where asked for: CRC-32C is slow in
plain Python.

Sources: TensorFlow's documentation of the TFRecord format; Protocol Buffers' documentation of its encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from poise.errors import Refused

LARGEST = 2**20
"""Bytes of a record: far more than a benchmark's rows have."""


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum of some bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as a record holds it."""
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def is_tfrecord(path: Path) -> bool:
    """Whether a file begins with a record's head, whose checksum agrees."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return len(head) == 12 and struct.unpack("<I", head[8:])[0] == masked(head[:8])


def records(path: Path, verify: bool = False) -> Iterator[bytes]:
    """The data of every record, in order.

    Args:
        path: of the file.
        verify: check the data's checksums too.

    Raises:
        Refused: the file cannot be read, is cut off, or is not a TFRecord file.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while head := file.read(12):
                what = f"record {number} of {path}"
                if len(head) < 12 or struct.unpack("<I", head[8:])[0] != masked(head[:8]):
                    raise Refused(f"{what} is damaged, or this is not a TFRecord file")
                (length,) = struct.unpack("<Q", head[:8])
                if length > LARGEST:
                    raise Refused(f"{what} has {length:,} bytes, more than {LARGEST:,}")
                body = file.read(length + 4)
                if len(body) < length + 4:
                    raise Refused(f"{what} is cut off: the file ends within it")
                data = body[:-4]
                if verify and struct.unpack("<I", body[-4:])[0] != masked(data):
                    raise Refused(f"{what} is damaged: its checksum does not agree")
                yield data
                number += 1
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None


def message(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of a protocol-buffer message: number and value.

    Whole numbers come as ``int``, 8 bytes as a double and 4 as a single ``float``, everything else as ``bytes``. What a
    number means, the sender and the reader must have agreed on.

    Raises:
        Refused: the bytes are no message.
    """
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise Refused(f"not a protocol buffer: a field of unknown kind {kind}")
        part = data[place : place + size]
        if len(part) < size:
            raise Refused("not a protocol buffer: it ends within a field")
        place += size
        yield number, part if kind == 2 else struct.unpack("<d" if kind == 1 else "<f", part)[0]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A whole number in groups of 7 bits, the lowest first, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise Refused("not a protocol buffer: it ends within a number")
        byte = data[place]
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return value, place
    raise Refused("not a protocol buffer: a number of more than 10 bytes")
