"""Freed memory is kept for the next step, where the C library can be told to.

A search step allocates and frees gigabytes in pieces of some megabytes. By default the GNU C library hands such pieces
back to the system, which then clears every page anew when the next step asks for it: about a twentieth of a step.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3)
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc takes no more; larger pieces still come from the system


def keep_freed_memory() -> bool:
    """Tell the allocator of this process; whether it listens. For programs, not for libraries: it holds for all."""
    mallopt = _of_the_c_library("mallopt")
    if mallopt is None:
        return False
    return all(mallopt(*option) == 1 for option in ((TRIM_THRESHOLD, -1), (MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)))


def hand_back_freed_memory() -> None:
    """Give the system what is freed and kept, or is about to be, so that it counts as free."""
    gc.collect()
    trim = _of_the_c_library("malloc_trim")
    if trim is not None:
        trim(0)


def freed_bytes() -> int:
    """What is freed and kept in the heap; 0 where the C library does not say."""
    mallinfo = _of_the_c_library("mallinfo2")
    if mallinfo is None:
        return 0
    mallinfo.restype = _Mallinfo
    return int(mallinfo().fordblks)


class _Mallinfo(ctypes.Structure):
    """What mallinfo2(3) says: ten numbers, of which `freed_bytes` wants one."""

    _fields_ = (("before", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t))


def _of_the_c_library(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
