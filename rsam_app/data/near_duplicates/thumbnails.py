"""Small grey thumbnails of images, cached on disk between commands, by which photographs are compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL

from rsam_app.data.images.decoding import read_image
from rsam_app.data.images.file_identity import stamp
from rsam_app.data.records import Record, Skipped
from rsam_app.system.cache.rows import NoRoomError, RowCache, open_cache
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.files import fingerprint
from rsam_app.system.hardware import available_cores
from rsam_app.system.progress import Progress
from rsam_app.system.versions import DECODED_IMAGES, THUMBNAILS

SIDE = 64
"""Pixels along each side: insensitive to recompression and rescaling, yet enough to tell two shots apart."""
MIN_CACHED = 256
"""Number of images from which thumbnails are cached; fewer are made in a second."""
_BATCH = 512


@dataclass(frozen=True)
class Thumbnails:
    """Thumbnails of N records.

    `readable` `(N,)` bool; `broken`: files that could not be read, and why; `note`: why thumbnails were not cached, or
    empty.
    """

    readable: np.ndarray
    broken: tuple[Skipped, ...]
    note: str
    _store: RowCache | np.ndarray
    _store_rows: np.ndarray

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the thumbnails of readable rows `(R,)`: `(R, 64, 64)` uint8, grey levels as displayed, squashed to a
        square."""
        store_rows = self._store_rows[rows]
        if isinstance(self._store, np.ndarray):
            taken: np.ndarray = self._store[store_rows]
            return taken
        taken = np.empty((len(store_rows), SIDE, SIDE), dtype=np.uint8)
        for number, row in enumerate(store_rows.tolist()):
            cached = self._store.view(row)
            if cached is None:
                raise UserError(
                    f"{self._store.folder}: a cached thumbnail was damaged during this command.\n"
                    "Remove that folder and rerun the command."
                )
            taken[number] = cached
        return taken


def make_thumbnails(
    records: Sequence[Record], within: Sequence[Record] | None = None, progress: Progress | None = None
) -> Thumbnails:
    """Return thumbnails of `records`: those of unchanged files from the cache, the others newly made.

    The cache has a row for each record of `within` (default: `records`), so pass the whole dataset there. If the cache
    has no room, or there are few records, thumbnails stay in memory, 4 KiB each.
    """
    store, rows, note = _open_store(records, records if within is None else within)
    missing = [number for number, row in enumerate(rows.tolist()) if not _is_cached(store, row)]
    readable, broken = np.ones(len(records), dtype=bool), []
    numbers_of: dict[tuple[Path, int], list[int]] = {}
    for number in missing:
        numbers_of.setdefault((records[number].path, records[number].banner), []).append(number)
    files, done = list(numbers_of), len(records) - len(missing)
    with ThreadPoolExecutor(min(8, available_cores())) as executor:
        for begin in range(0, len(files), _BATCH):
            part = files[begin : begin + _BATCH]
            for file, thumbnail in zip(part, executor.map(_thumbnail, part), strict=True):
                for number in numbers_of[file]:
                    if isinstance(thumbnail, Skipped):
                        readable[number] = False
                        broken.append(thumbnail)
                    elif isinstance(store, np.ndarray):
                        store[number] = thumbnail
                    else:
                        store.put(int(rows[number]), thumbnail)
                done += len(numbers_of[file])
            if progress:
                progress(done, len(records))
    return Thumbnails(readable, tuple(broken), note, store, rows)


def _open_store(records: Sequence[Record], within: Sequence[Record]) -> tuple[RowCache | np.ndarray, np.ndarray, str]:
    """Return the cache of `within` or an empty array, the row of each of `records` in it, and a note if the cache has
    no room."""
    note = ""
    if len(within) >= MIN_CACHED:
        try:
            store = open_cache(f"thumbnails-{_cache_key(within)}", [(SIDE, SIDE)] * len(within), np.dtype(np.uint8))
            row_of = {record.id: row for row, record in enumerate(within)}
            return store, np.array([row_of[record.id] for record in records], dtype=np.int64), note
        except NoRoomError as error:
            note = f"thumbnails are not cached: {error}"
    return np.empty((len(records), SIDE, SIDE), dtype=np.uint8), np.arange(len(records)), note


def _is_cached(store: RowCache | np.ndarray, row: int) -> bool:
    return isinstance(store, RowCache) and store.view(row) is not None


def _thumbnail(file: tuple[Path, int]) -> np.ndarray | Skipped:
    path, banner = file
    try:
        pixels, _ = read_image(path, SIDE // 2, banner)
    except UserError as error:
        return Skipped(path, reason_of(error))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _cache_key(records: Sequence[Record]) -> str:
    """Return a fingerprint of the records' files and of how thumbnails are made."""
    files = [(os.path.abspath(record.path), stamp(record.path), record.banner) for record in records]
    return fingerprint(THUMBNAILS, DECODED_IMAGES, SIDE, cv2.__version__, PIL.__version__, files)[:24]
