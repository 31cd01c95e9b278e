"""Cache of decoded images, on disk: each file is decoded once, and read from the cache in later epochs and commands.

The cache holds exactly what `read_image` returns, so it affects nothing but time: a run with a cold, warm, partial or
no cache trains on the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import cv2
import numpy as np
import torch

from rsam_app.data.images.decoding import SHRINK_FROM, SHRINK_TO, read_image, stored_size
from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.records import Record
from rsam_app.system.cache.rows import NoRoomError, RowCache, limit_in_bytes, open_cache
from rsam_app.system.files import fingerprint

CACHE_SHARE = 0.5
"""Share of `RSAM_CACHE_GIB` that the decoded images of one dataset may take."""


class ImageReader:
    """Reads the images of records for a network input of `side` pixels, without a cache."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, record: Record) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the image `(H, W, 3)` uint8 at its stored size, read-only, and its displayed `(width, height)`.

        Raises `UserError` if the file is not a readable image.
        """
        return read_image(record.path, self.side, record.banner)


class CachedImageReader(ImageReader):
    """Reads images from the cache `rows`, and caches the ones it decodes. Can be pickled into loading processes."""

    def __init__(self, side: int, rows: RowCache, row_of: dict[Path, int]) -> None:
        super().__init__(side)
        self.rows, self.row_of = rows, row_of

    def __call__(self, record: Record) -> tuple[np.ndarray, tuple[int, int]]:
        """As in `ImageReader`."""
        row = self.row_of.get(record.path)
        cached = None if row is None else self.rows.view(row)
        if cached is not None:
            return cached, (record.width, record.height)
        pixels, displayed = super().__call__(record)
        if row is not None and pixels.shape == self.rows.shapes[row]:  # else the file changed since it was scanned
            self.rows.put(row, pixels)
        return pixels, displayed


_ACTIVE: ContextVar[CachedImageReader | None] = ContextVar("cached_images", default=None)


def reader_for(side: int) -> ImageReader:
    """Return the image reader for inputs of `side` pixels; it uses the cache inside `caching_images`."""
    active = _ACTIVE.get()
    return active if active is not None and active.side == side else ImageReader(side)


@contextmanager
def caching_images(records: Sequence[Record], side: int, say: Callable[[str], None]) -> Iterator[None]:
    """Inside this block, cache the decoded images of `records` for inputs of `side` pixels.

    The cache takes at most `CACHE_SHARE` of `RSAM_CACHE_GIB`; if not all images fit, the first ones are cached. `say`
    gets a line with their number, or the reason why none is cached.
    """
    try:
        active = _open(records, side)
    except (NoRoomError, OSError) as error:
        say(f"decoded images are not cached, so every epoch decodes them: {error}")
        yield
        return
    count, size = len(active.row_of), sum(map(np.prod, active.rows.shapes)) / 2**30
    limited = "" if count == len(records) else f" of {len(records):,}; RSAM_CACHE_GIB has no room for the others"
    say(f"decoded images are cached: {count:,}{limited} ({size:.1f} GiB in {active.rows.folder})")
    token = _ACTIVE.set(active)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def _open(records: Sequence[Record], side: int) -> CachedImageReader:
    room, shapes = CACHE_SHARE * limit_in_bytes(), []
    for record in records:
        width, height = stored_size((record.width, record.height), side)
        room -= width * height * 3
        if room < 0:
            break
        shapes.append((height, width, 3))
    if not shapes:
        raise NoRoomError("RSAM_CACHE_GIB leaves no room for them")
    cached = records[: len(shapes)]
    key = fingerprint(files_hash(cached), side, SHRINK_TO, SHRINK_FROM, cv2.__version__, torch.__version__, shapes)
    rows = open_cache(f"images-{key[:24]}", shapes, np.dtype(np.uint8))
    return CachedImageReader(side, rows, {record.path: row for row, record in enumerate(cached)})
