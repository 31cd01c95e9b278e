"""Freed memory is reused without new page faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from rsam_app.system.allocator import release_freed_memory, retain_freed_memory
done = {"retain": retain_freed_memory, "release": release_freed_memory}[sys.argv[1]]()
def block():
    np.ones(40 * 2**20, dtype=np.uint8)
block()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block()
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 40 * 2**20 // os.sysconf("SC_PAGE_SIZE")


def faults(what: str, **environment: str) -> tuple[str, int]:
    """Return whether the setting took effect, and the page faults of ten allocations of 40 MiB."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, what], env=clean | environment, capture_output=True, text=True, check=True
    )
    took_effect, count = done.stdout.split()
    return took_effect, int(count)


@pytest.mark.skipif(sys.platform != "linux" or not os.confstr("CS_GNU_LIBC_VERSION"), reason="needs glibc")
def test_freed_memory_is_used_again() -> None:
    assert faults("retain") == ("True", pytest.approx(0, abs=PAGES // 10))
    took_effect, count = faults("release")
    huge = 512  # with transparent huge pages a fault brings in as many pages at once
    assert took_effect == "True" and count > 10 * PAGES / (2 * huge) * 0.9


def test_variables_of_the_user_take_precedence() -> None:
    assert faults("retain", MALLOC_ARENA_MAX="2")[0] == "False"
