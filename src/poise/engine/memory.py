"""Freed memory is kept for the next step, where the C library can be told to.

A search step allocates and frees gigabytes in pieces of some megabytes. By default the GNU C library hands such pieces
back to the system, which then clears every page anew when the next step asks for it: about a twentieth of a step.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3)
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc takes no more; larger pieces still come from the system


def keep_freed_memory() -> bool:
    """Tell the allocator of this process; whether it listens. For programs, not for libraries: it holds for all."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(*option) == 1 for option in ((TRIM_THRESHOLD, -1), (MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)))
