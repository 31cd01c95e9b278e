"""Memory that the C library keeps for the next tensors, instead of giving it back and faulting it in again."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
"""Parameters of glibc's `mallopt` (its manual page)."""
SETTLED = {M_MMAP_MAX: 65_536, M_MMAP_THRESHOLD: 32 * 2**20, M_TRIM_THRESHOLD: 64 * 2**20, M_TOP_PAD: 128 * 2**10}
"""What glibc settles at by itself once large blocks were freed."""
KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 64 * 2**20}


def retain_freed_memory() -> bool:
    """Let this process keep the memory that it frees; returns whether it does.

    Every layer of a network frees a map of tens of megabytes and asks for the next one. glibc maps blocks of that size
    anew each time, and the kernel clears them page by page: on two cores a third of the processor time of looking at 32
    images. Kept, a process holds its peak until it ends. Without effect where the C library is another one, or where a
    person set `MALLOC_…` variables herself.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    return _set(KEEPING)


def release_freed_memory() -> bool:
    """What glibc does by itself, for comparison; returns whether it could be set."""
    return sys.platform == "linux" and _set(SETTLED)


def _set(values: dict[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library than glibc
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in values.items())
