"""Small grey copies of all images, kept on disk between commands: what photographs are compared by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL

from rsam_app.data.images.decoding import read_image
from rsam_app.data.images.file_identity import PIXELS_VERSION, stamp
from rsam_app.data.records import Record, Skipped
from rsam_app.system.cache.rows import NoRoomError, RowCache, open_cache
from rsam_app.system.errors import UserError
from rsam_app.system.hardware import available_cores
from rsam_app.system.progress import Progress

SIDE = 64
"""Pixels: what recompression and rescaling leave alone, and enough to tell the next shot of a series."""
VERSION = 1
"""Raise it when thumbnails come out otherwise."""
KEPT_FROM = 256
"""Images from which on thumbnails are kept: fewer are made again in a second."""
_AT_ONCE = 512


@dataclass(frozen=True)
class Thumbnails:
    """Thumbnails of N records.

    `readable` `(N,)` says which there are, `broken` which files could not be read and why, `note` why none could be
    kept for the next time, or nothing.
    """

    readable: np.ndarray
    broken: tuple[Skipped, ...]
    note: str
    _store: RowCache | np.ndarray
    _places: np.ndarray

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Those of some readable rows `(R,)`: `(R, 64, 64)` uint8, grey levels as displayed, squashed to a square."""
        places = self._places[rows]
        if isinstance(self._store, np.ndarray):
            taken: np.ndarray = self._store[places]
            return taken
        found = np.empty((len(places), SIDE, SIDE), dtype=np.uint8)
        for row, place in enumerate(places.tolist()):
            kept = self._store.view(place)
            if kept is None:
                raise UserError(
                    f"{self._store.folder}: a thumbnail is damaged that was whole a moment ago.\n"
                    "Remove that folder and run the command again."
                )
            found[row] = kept
        return found


def make_thumbnails(
    records: Sequence[Record], within: Sequence[Record] | None = None, progress: Progress | None = None
) -> Thumbnails:
    """Thumbnails of `records`. Those of files that did not change since are read from the cache, the others are made.

    They are kept together with the places for all records of `within` (default: `records`), so give the whole dataset
    there. Where the cache has no room, or they are few, they are held in memory, 4 KiB each.
    """
    within = records if within is None else within
    store: RowCache | np.ndarray = np.empty((0, SIDE, SIDE), dtype=np.uint8)
    places, note = np.arange(len(records)), ""
    try:
        if len(within) >= KEPT_FROM:
            store = open_cache(f"thumbnails-{files_state(within)}", [(SIDE, SIDE)] * len(within), np.dtype(np.uint8))
            place_of = {record.id: place for place, record in enumerate(within)}
            places = np.array([place_of[record.id] for record in records], dtype=np.int64)
    except NoRoomError as error:
        note = f"thumbnails are not kept for the next time: {error}"
    if isinstance(store, np.ndarray):
        store, missing = np.empty((len(records), SIDE, SIDE), dtype=np.uint8), list(range(len(records)))
    else:
        missing = [row for row, place in enumerate(places.tolist()) if store.view(place) is None]
    readable, broken = np.ones(len(records), dtype=bool), []
    rows_of: dict[tuple[Path, int], list[int]] = {}
    for row in missing:
        rows_of.setdefault((records[row].path, records[row].banner), []).append(row)
    files, done = list(rows_of), len(records) - len(missing)
    with ThreadPoolExecutor(min(8, available_cores())) as executor:
        for begin in range(0, len(files), _AT_ONCE):
            part = files[begin : begin + _AT_ONCE]
            for file, made in zip(part, executor.map(_thumbnail, part), strict=True):
                for row in rows_of[file]:
                    if isinstance(made, Skipped):
                        readable[row] = False
                        broken.append(made)
                    elif isinstance(store, np.ndarray):
                        store[row] = made
                    else:
                        store.put(int(places[row]), made)
                done += len(rows_of[file])
            if progress:
                progress(done, len(records))
    return Thumbnails(readable, tuple(broken), note, store, places)


def _thumbnail(file: tuple[Path, int]) -> np.ndarray | Skipped:
    path, banner = file
    try:
        pixels, _ = read_image(path, SIDE // 2, banner)
    except UserError as error:
        return Skipped(path, str(error).splitlines()[0])
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def files_state(records: Sequence[Record]) -> str:
    """What changes with the files of records, and with what makes thumbnails of them."""
    digest = hashlib.sha256(repr((VERSION, PIXELS_VERSION, SIDE, cv2.__version__, PIL.__version__)).encode())
    for record in records:
        digest.update(repr((os.path.abspath(record.path), stamp(record.path), record.banner)).encode())
    return digest.hexdigest()[:24]
