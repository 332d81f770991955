"""Read TFRecord files and the protocol buffers in them, without TensorFlow.

A record is ``length (8 bytes, little-endian) · checksum of the length · data · checksum of the data``, a checksum
being the CRC-32C, rotated right by 15 bits and increased by a constant, in 4 bytes. Both checksums are verified.

Sources: TensorFlow's documentation of the TFRecord format; Protocol Buffers' documentation of its encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from poise.errors import Refused

LARGEST = 2**20
"""Bytes of a record: far more than a benchmark's rows have."""
BLOCK = 512
"""Bytes that are summed at once."""
SHORT = 32
"""Fewer bytes than these are summed one by one, which is faster then."""


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE = _table()


@cache
def _blocks() -> np.ndarray:
    """``[BLOCK · 256]``: what a byte adds to the sum of a block, at each place of it: the sum is linear over GF(2)."""
    table = np.array(_TABLE, dtype=np.uint32)
    found = np.empty((BLOCK, 256), dtype=np.uint32)
    found[-1] = table
    for place in range(BLOCK - 1, 0, -1):
        found[place - 1] = (found[place] >> 8) ^ table[found[place] & 0xFF]
    return found.ravel()


_PLACES = 256 * np.arange(BLOCK)


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum of some bytes."""
    value = 0xFFFFFFFF
    for start in range(0, len(data), BLOCK):
        part = data[start : start + BLOCK]
        if len(part) < SHORT:
            for byte in part:
                value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
        else:
            block = np.frombuffer(part, np.uint8).copy()
            block[:4] ^= np.frombuffer(struct.pack("<I", value), np.uint8)
            value = int(np.bitwise_xor.reduce(_blocks()[_PLACES[BLOCK - len(part) :] + block]))
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as a record holds it."""
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(path: Path) -> Iterator[bytes]:
    """The data of every record, in order.

    Raises:
        Refused: the file cannot be read, is damaged or cut off, or is not a TFRecord file.
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
                if struct.unpack("<I", body[-4:])[0] != masked(data):
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
