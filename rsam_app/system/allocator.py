"""Reuse of freed memory by the C library, instead of returning it to the system after every layer."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
"""Parameters of glibc's mallopt(3)."""
ADAPTIVE = {M_MMAP_MAX: 65_536, M_MMAP_THRESHOLD: 32 * 2**20, M_TRIM_THRESHOLD: 64 * 2**20, M_TOP_PAD: 128 * 2**10}
"""The values that glibc adapts to by itself after large blocks were freed."""
RETAINING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 64 * 2**20}


def retain_freed_memory() -> bool:
    """Let this process retain the memory that it frees; return whether that took effect.

    Every layer of a network frees a feature map of tens of megabytes and allocates the next one. glibc maps blocks of
    that size from the kernel each time, which clears them page by page: a third of the processor time of a forward pass
    of 32 images on two cores. In return, the process holds its peak memory until it ends. No effect with another C
    library, or if `MALLOC_…` variables or `GLIBC_TUNABLES` are set.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    return _set(RETAINING)


def release_freed_memory() -> bool:
    """Restore glibc's own behaviour, for comparison; return whether that took effect."""
    return sys.platform == "linux" and _set(ADAPTIVE)


def _set(values: dict[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in values.items())
