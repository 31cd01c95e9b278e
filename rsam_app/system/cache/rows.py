"""A memory-mapped, checksummed on-disk cache of fixed-shape arrays, shared by all commands."""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.system.cache.files import cache_folder
from rsam_app.system.distributed.rank import current_rank
from rsam_app.system.files import allocate, locked, replace_atomically
from rsam_app.system.json_files import read_json
from rsam_app.system.versions import ROW_CACHE

ALIGNMENT = 64
"""Rows begin at multiples of this many bytes."""

DEFAULT_LIMIT = 20.0
"""Default of `RSAM_CACHE_GIB`: the GiB that all caches may use together."""


class NoRoomError(Exception):
    """The cache cannot be opened or has no room; the message gives the reason."""


class RowCache:
    """Arrays of known shapes, one per row, each cached or missing.

    Several processes may write: two that compute the same row write the same bytes. A row is valid once its checksum,
    which is written after it, matches: a killed process leaves no partial row. A cache can be pickled into loading
    processes, and its folder is not removed as long as it is open.
    """

    def __init__(self, folder: Path, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> None:
        self.folder, self.shapes, self.dtype = folder, list(shapes), dtype
        self.offsets, _ = _layout(self.shapes, dtype)
        self._in_use = (self.folder / "in_use").open("w")
        fcntl.flock(self._in_use, fcntl.LOCK_SH)
        self._rows = np.asarray(np.memmap(self.folder / "rows", np.uint8, "r"))
        self._checksums = np.memmap(self.folder / "checksums", np.uint32, "r+")
        self._verified: set[int] = set()

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[type[RowCache], tuple[Path, list[tuple[int, ...]], np.dtype[Any]]]:
        return RowCache, (self.folder, self.shapes, self.dtype)

    def get(self, row: int) -> np.ndarray | None:
        """Return a copy of a row, or None if it is missing."""
        values = self.view(row)
        return None if values is None else values.copy()

    def view(self, row: int) -> np.ndarray | None:
        """Return a row as a read-only memory map, or None if it is missing or damaged."""
        checksum = int(self._checksums[row])
        if not checksum:
            return None
        begin = self.offsets[row]
        raw = self._rows[begin : begin + math.prod(self.shapes[row]) * self.dtype.itemsize]
        if row not in self._verified:
            if _checksum(raw) != checksum:
                return None
            self._verified.add(row)
        values: np.ndarray = raw.view(self.dtype).reshape(self.shapes[row])
        return values

    def put(self, row: int, values: np.ndarray) -> None:
        """Write a row. Raises `ValueError` if its shape or type differs from the declared one."""
        if values.shape != self.shapes[row] or values.dtype != self.dtype:
            raise ValueError(f"row {row} is {values.dtype}{values.shape}, not {self.dtype}{self.shapes[row]}")
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        with (self.folder / "rows").open("r+b") as stream:
            stream.seek(self.offsets[row])
            stream.write(raw.data)
        self._checksums[row] = _checksum(raw)

    def missing(self) -> list[int]:
        """Return the rows that are not cached yet."""
        return [row for row in range(len(self)) if not self._checksums[row]]


def open_cache(key: str, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> RowCache:
    """Open the cache `key`, or create it; the key must change whenever the rows' values would.

    Disk space is reserved at once, so that a disk cannot fill up half-way; the least recently used caches are removed
    to make room. Raises `NoRoomError`.
    """
    home = cache_home()
    folder = home / key
    size = _layout(list(shapes), dtype)[1] + 4 * len(shapes)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "lock"):
            if not _matches(folder, len(shapes), size):
                _make_room(home, size)
                _create(folder, len(shapes), size)
            cache = RowCache(folder, shapes, dtype)
            os.utime(folder / "in_use")
        return cache
    except OSError as error:
        raise NoRoomError(f"{home}: {error.strerror or error}") from error


def cache_home() -> Path:
    """Return the folder of all row caches, `rows` in the cache folder.

    In a launch on several machines each has its own, even on a shared disk: a change that one machine makes to a
    memory-mapped file is not visible to the others.
    """
    rank = current_rank()
    return cache_folder() / (f"rows-{platform.node()}" if rank and rank.machines > 1 else "rows")


def limit_in_bytes() -> int:
    """Return `RSAM_CACHE_GIB`, the limit of all caches together, in bytes. Raises `NoRoomError` if not a number."""
    text = os.environ.get("RSAM_CACHE_GIB") or str(DEFAULT_LIMIT)
    try:
        return max(0, int(float(text) * 2**30))
    except ValueError:
        raise NoRoomError(f"RSAM_CACHE_GIB={text} is not a number") from None


def _layout(shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> tuple[list[int], int]:
    """Return the offset of each row and the size of all rows, in bytes."""
    offsets, end = [], 0
    for shape in shapes:
        offsets.append(end)
        end += -(-math.prod(shape) * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return offsets, end


def _checksum(raw: np.ndarray) -> int:
    """Return a sum of 64-bit words, folded to 32 bits and never 0, which marks a missing row. It is twenty times as
    fast as a CRC and also detects pages that never reached the disk."""
    whole = len(raw) // 8 * 8
    total = int(raw[:whole].view(np.uint64).sum(dtype=np.uint64)) + int(raw[whole:].sum(dtype=np.uint64))
    return (total ^ total >> 32) & 0xFFFFFFFF or 1


def _matches(folder: Path, rows: int, size: int) -> bool:
    try:
        return bool(read_json(folder / "made.json") == _description(rows, size))
    except (OSError, ValueError):
        return False


def _description(rows: int, size: int) -> dict[str, int]:
    return {"version": ROW_CACHE, "rows": rows, "bytes": size}


def _create(folder: Path, rows: int, size: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with replace_atomically(folder) as partial:
        partial.mkdir(mode=0o700)
        for name, length in (("rows", size - 4 * rows), ("checksums", 4 * rows)):
            with (partial / name).open("wb") as stream:
                allocate(stream, max(1, length))
        (partial / "made.json").write_text(json.dumps(_description(rows, size)), encoding="utf-8")
        (partial / "in_use").touch()


def _make_room(home: Path, size: int) -> None:
    """Remove the least recently used caches until the limit and the disk have room for `size` more bytes."""
    limit = limit_in_bytes()
    if size > limit:
        raise NoRoomError(f"it takes {size / 2**30:.1f} GiB and RSAM_CACHE_GIB allows {limit / 2**30:g}")
    for leftover in home.glob("*.partial"):  # of a process that was killed while it reserved space
        shutil.rmtree(leftover, ignore_errors=True)
    folders = sorted((f for f in home.iterdir() if f.is_dir()), key=_last_used)
    sizes = {folder: sum(f.stat().st_size for f in folder.iterdir()) for folder in folders}
    for folder in folders:
        if sum(sizes.values()) + size <= limit and shutil.disk_usage(home).free > size:
            return
        if _remove_unless_in_use(folder):
            del sizes[folder]
    if sum(sizes.values()) + size > limit:
        raise NoRoomError(f"caches in use leave less than {size / 2**30:.1f} GiB of RSAM_CACHE_GIB={limit / 2**30:g}")
    if shutil.disk_usage(home).free <= size:
        raise NoRoomError(f"the disk of {home} has less than {size / 2**30:.1f} GiB left")


def _last_used(folder: Path) -> float:
    mark = folder / "in_use"
    return mark.stat().st_mtime if mark.exists() else time.time()


def _remove_unless_in_use(folder: Path) -> bool:
    try:
        with locked(folder / "in_use", wait=False):
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    return True
