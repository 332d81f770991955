"""Reading files that may be compressed, up to a stated number of bytes: a small file cannot unpack into a huge one."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from poise.errors import Refused


class _Limited(io.RawIOBase):
    """The bytes of a stream; `Refused` once there are more than ``most``."""

    def __init__(self, stream: IO[bytes], most: int, name: str) -> None:
        self._stream, self._left, self._most, self._name = stream, most, most, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._stream.read(len(buffer))
        self._left -= len(found)
        if self._left < 0:
            raise Refused(f"{self._name} holds more than {self._most:,} bytes once unpacked, which is the limit")
        buffer[: len(found)] = found
        return len(found)


def limited(stream: IO[bytes], most: int, name: str) -> io.BufferedReader:
    """The bytes of an open stream; `Refused` while reading once there are more than ``most``."""
    return io.BufferedReader(_Limited(stream, most, name), 2**18)


@contextmanager
def opened(path: Path, most: int) -> Iterator[io.BufferedReader]:
    """The bytes of a file, unpacked if its first bytes say that it is gzip or bzip2.

    Args:
        path: an ordinary file; a folder or a pipe is refused.
        most: bytes that may come out.

    Raises:
        Refused: the file cannot be read, is damaged or holds more than ``most`` bytes. Also while it is being read.
    """
    if not path.is_file():
        raise Refused(f"{path} is not a file" if path.exists() else f"no such file: {path}")
    try:
        with path.open("rb") as file:
            start = file.peek(3)[:3]
            stream: IO[bytes] = file
            if start[:2] == b"\x1f\x8b":
                stream = gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[assignment]
            elif start == b"BZh":
                stream = bz2.BZ2File(file, "rb")
            yield limited(stream, most, str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(f"cannot read {path}: {error}") from None
