"""Arrays that are dear to make, kept on disk between commands: made once, then read from memory-mapped files."""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.system.cache.files import cache_folder
from rsam_app.system.distributed.rank import current_rank

ALIGNMENT = 64
"""Rows begin at multiples of this many bytes."""

VERSION = 2
"""Raise it when the files mean something else: older folders are then made anew."""

DEFAULT_LIMIT = 20.0
"""GiB that all caches together may take where `RSAM_CACHE_GIB` does not say otherwise."""


class NoRoomError(Exception):
    """The cache cannot hold that much; the message says why."""


class RowCache:
    """Arrays of known shapes, one per row, each either there or not.

    Rows are written by whoever made them first; two processes that make the same row write the same bytes. A row
    counts once its checksum stands, which is written after it, so a killed writer leaves no half row. Can be pickled
    into loading processes. A folder in use is never removed.
    """

    def __init__(self, folder: Path, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> None:
        self.folder, self.shapes, self.dtype = folder, list(shapes), dtype
        self.offsets, _ = _layout(self.shapes, dtype)
        self._open()

    def __len__(self) -> int:
        return len(self.shapes)

    def __getstate__(self) -> tuple[Path, list[tuple[int, ...]], np.dtype[Any]]:
        return self.folder, self.shapes, self.dtype

    def __setstate__(self, state: tuple[Path, list[tuple[int, ...]], np.dtype[Any]]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def get(self, row: int) -> np.ndarray | None:
        """A copy of a row, or None where it was not put yet."""
        values = self.view(row)
        return None if values is None else values.copy()

    def view(self, row: int) -> np.ndarray | None:
        """A row as it lies on disk, read as far as it is looked at and not to be written to, or None as above."""
        checksum = int(self._checksums[row])
        if not checksum:
            return None
        begin = self.offsets[row]
        raw = self._rows[begin : begin + self._bytes(row)]
        if row not in self._trusted:
            if _checksum(raw) != checksum:
                return None
            self._trusted.add(row)
        values: np.ndarray = raw.view(self.dtype).reshape(self.shapes[row])
        return values

    def put(self, row: int, values: np.ndarray) -> None:
        """Keep a row. Raises `ValueError` where it has another shape or type."""
        if values.shape != self.shapes[row] or values.dtype != self.dtype:
            raise ValueError(f"row {row} is {values.dtype}{values.shape}, not {self.dtype}{self.shapes[row]}")
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        begin, written = self.offsets[row], 0
        with (self.folder / "rows").open("r+b", buffering=0) as stream:
            stream.seek(begin)
            while written < len(raw):
                written += stream.write(raw[written:].data) or 0
        self._checksums[row] = _checksum(raw)

    def missing(self) -> list[int]:
        """The rows that were not put yet."""
        return [row for row in range(len(self)) if not self._checksums[row]]

    def _bytes(self, row: int) -> int:
        return math.prod(self.shapes[row]) * self.dtype.itemsize

    def _open(self) -> None:
        self._in_use = (self.folder / "in_use").open("w")
        fcntl.flock(self._in_use, fcntl.LOCK_SH)
        self._rows = np.asarray(np.memmap(self.folder / "rows", np.uint8, "r"))
        self._checksums = np.memmap(self.folder / "checksums", np.uint32, "r+")
        self._trusted: set[int] = set()


def open_cache(key: str, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> RowCache:
    """The cache under `key`, which must change whenever rows would; made where there is none.

    Space is reserved at once, so that a disk cannot fill up half-way; caches that were not used for longest go first.
    Raises `NoRoomError`.
    """
    home = cache_home()
    folder = home / key
    _, needed = _layout(list(shapes), dtype)
    needed += 4 * len(shapes)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _locked(home / "lock"):
            if not _fits(folder, len(shapes), needed):
                _make_room(home, needed)
                _make(folder, len(shapes), needed)
            cache = RowCache(folder, shapes, dtype)
            os.utime(folder / "in_use")
        return cache
    except OSError as error:
        raise NoRoomError(f"{home}: {error.strerror or error}") from error


def cache_home() -> Path:
    """`$XDG_CACHE_HOME/rsam/rows` (default below `~/.cache`).

    Machines that work together keep one each, even on a shared disk: what one maps into its memory, it does not see
    another one change.
    """
    place = current_rank()
    return cache_folder() / (f"rows-{platform.node()}" if place and place.machines > 1 else "rows")


def limit_in_bytes() -> int:
    """What `RSAM_CACHE_GIB` allows all caches together. Raises `NoRoomError` where it is no number."""
    text = os.environ.get("RSAM_CACHE_GIB") or str(DEFAULT_LIMIT)
    try:
        return max(0, int(float(text) * 2**30))
    except ValueError:
        raise NoRoomError(f"RSAM_CACHE_GIB={text} is no number") from None


def _layout(shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> tuple[list[int], int]:
    """Where each row begins, and how many bytes all take."""
    offsets, end = [], 0
    for shape in shapes:
        offsets.append(end)
        end += -(-math.prod(shape) * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return offsets, end


def _checksum(raw: np.ndarray) -> int:
    """A sum of words: twenty times as fast as a CRC, and pages that never reached the disk are missing from it too."""
    whole = len(raw) // 8 * 8
    total = int(raw[:whole].view(np.uint64).sum(dtype=np.uint64)) + int(raw[whole:].sum(dtype=np.uint64))
    return (total ^ total >> 32) & 0xFFFFFFFF or 1  # 0 says that there is no row


def _fits(folder: Path, rows: int, needed: int) -> bool:
    try:
        described = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(described == _description(rows, needed))


def _description(rows: int, needed: int) -> dict[str, int]:
    return {"version": VERSION, "rows": rows, "bytes": needed}


def _make(folder: Path, rows: int, needed: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        for name, size in (("rows", needed - 4 * rows), ("checksums", 4 * rows)):
            with (made / name).open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, max(1, size))
        (made / "made.json").write_text(json.dumps(_description(rows, needed)), encoding="utf-8")
        (made / "in_use").touch()
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _make_room(home: Path, needed: int) -> None:
    """Remove what was not used for longest until `needed` bytes more are allowed and the disk has them."""
    limit = limit_in_bytes()
    if needed > limit:
        raise NoRoomError(f"it takes {needed / 2**30:.1f} GiB and RSAM_CACHE_GIB allows {limit / 2**30:g}")
    for left in home.glob(".new-*"):  # of a process that was killed while it reserved space
        shutil.rmtree(left, ignore_errors=True)
    folders = sorted((f for f in home.iterdir() if f.is_dir()), key=_last_used)
    taken = {folder: sum(f.stat().st_size for f in folder.iterdir()) for folder in folders}
    for folder in folders:
        if sum(taken.values()) + needed <= limit and shutil.disk_usage(home).free > needed:
            return
        if _remove_unless_in_use(folder):
            del taken[folder]
    if sum(taken.values()) + needed > limit:
        raise NoRoomError(f"caches in use leave less than {needed / 2**30:.1f} GiB of RSAM_CACHE_GIB={limit / 2**30:g}")
    if shutil.disk_usage(home).free <= needed:
        raise NoRoomError(f"the disk of {home} has less than {needed / 2**30:.1f} GiB left")


def _last_used(folder: Path) -> float:
    mark = folder / "in_use"
    return mark.stat().st_mtime if mark.exists() else time.time()


def _remove_unless_in_use(folder: Path) -> bool:
    with (folder / "in_use").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
