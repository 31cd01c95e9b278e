"""Decoded images, kept on disk between epochs and commands: a file is decoded once, later it is read as it was then.

What is kept is what `read_image` gives, to the last bit, so that nothing but time depends on it: a run with a cold, a
warm, a partial or no cache trains on the same pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import cv2
import numpy as np
import torch

from rsam_app.data.images.decoding import SPARE, WORTH, read_image, stored_size
from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.records import Record
from rsam_app.system.cache.rows import NoRoomError, RowCache, limit_in_bytes, open_cache

SHARE = 0.5
"""How much of what all caches may take decoded images of one dataset may."""


class ImageReader:
    """Reads the images of records for a network input of `side` pixels, without keeping them."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, record: Record) -> tuple[np.ndarray, tuple[int, int]]:
        """The image `(H, W, 3)` uint8 at its stored size, not to be written to, and its displayed `(width, height)`.

        Raises `UserError` where the file is no readable image."""
        return read_image(record.path, self.side, record.banner)


class CachedImages(ImageReader):
    """Reads them from `rows` where they were put, else decodes and puts them. Can be pickled into loading processes."""

    def __init__(self, side: int, rows: RowCache, row_of: dict[Path, int]) -> None:
        super().__init__(side)
        self.rows, self.row_of = rows, row_of

    def __call__(self, record: Record) -> tuple[np.ndarray, tuple[int, int]]:
        """As above."""
        row = self.row_of.get(record.path)
        kept = None if row is None else self.rows.view(row)
        if kept is not None:
            return kept, (record.width, record.height)
        pixels, displayed = super().__call__(record)
        if row is not None and pixels.shape == self.rows.shapes[row]:  # else the file changed since it was scanned
            self.rows.put(row, pixels)
        return pixels, displayed


_ACTIVE: ContextVar[CachedImages | None] = ContextVar("kept_images", default=None)


def reader_for(side: int) -> ImageReader:
    """The reader of images for inputs of `side` pixels: one that keeps them inside of `caching_images`."""
    active = _ACTIVE.get()
    return active if active is not None and active.side == side else ImageReader(side)


@contextmanager
def caching_images(records: Sequence[Record], side: int, say: Callable[[str], None]) -> Iterator[None]:
    """Inside, what reads these records for inputs of `side` pixels keeps them. As many as `SHARE` of `RSAM_CACHE_GIB`
    holds are kept, the first ones; where there is no room at all, that is said and none is."""
    try:
        active = _open(records, side)
    except (NoRoomError, OSError) as error:
        say(f"decoded images are not kept, so every epoch decodes them: {error}")
        yield
        return
    kept, size = len(active.row_of), sum(map(np.prod, active.rows.shapes)) / 2**30
    rest = "" if kept == len(records) else f" of {len(records):,}; RSAM_CACHE_GIB has no room for more"
    say(f"decoded images are kept: {kept:,}{rest} ({size:.1f} GiB in {active.rows.folder})")
    token = _ACTIVE.set(active)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def _open(records: Sequence[Record], side: int) -> CachedImages:
    limit, shapes = SHARE * limit_in_bytes(), []
    for record in records:
        width, height = stored_size((record.width, record.height), side)
        limit -= width * height * 3
        if limit < 0:
            break
        shapes.append((height, width, 3))
    if not shapes:
        raise NoRoomError("RSAM_CACHE_GIB leaves no room for them")
    kept = records[: len(shapes)]
    settings = repr((side, SPARE, WORTH, cv2.__version__, torch.__version__, shapes))
    key = hashlib.sha256((files_hash(kept) + settings).encode()).hexdigest()[:24]
    rows = open_cache(f"images-{key}", shapes, np.dtype(np.uint8))
    return CachedImages(side, rows, {record.path: row for row, record in enumerate(kept)})
