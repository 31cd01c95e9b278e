"""The scan: every image is opened and decoded once, so that training never meets a broken file."""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from rsam_app.data.images import displayed_size
from rsam_app.data.masks import mask_indices
from rsam_app.data.records import Record, Skipped
from rsam_app.data.scan_cache import ScanCache
from rsam_app.hardware import available_cores

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""

DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, zlib.error, KeyError, IndexError)
"""What PIL's decoders raise on damaged files, by format."""
THREADS = min(8, available_cores())


class _BrokenError(Exception):
    """A file that cannot be used; its text is the reason."""


@dataclass(frozen=True)
class Scan:
    """Records with their displayed sizes, and what was left out."""

    records: tuple[Record, ...]
    skipped: tuple[Skipped, ...]
    skipped_masks: tuple[Skipped, ...]


def scan(records: Sequence[Record], cache: ScanCache, progress: Progress | None = None) -> Scan:
    """Decode every image and mask that `cache` does not know, and sort out those that cannot be used.

    A record whose image is missing or broken is left out; a mask that is missing, broken, of another size than its
    image, or without a pixel of the object is left out while its record stays. The cache is brought up to date and not
    yet saved.
    """
    images = _facts([r.path for r in records], _look_at_image, "image", cache, progress)
    kept, skipped = [], []
    for record, found in zip(records, images, strict=True):
        if isinstance(found, str):
            skipped.append(Skipped(record.path, found))
        else:
            kept.append(replace(record, width=found[0], height=found[1]))
    masked = [r for r in kept if r.mask]
    looks = _facts([r.mask for r in masked if r.mask], _look_at_mask, "mask", cache, None)
    reasons = {r.id: _objection(r, found) for r, found in zip(masked, looks, strict=True)}
    skipped_masks = tuple(Skipped(r.mask, reasons[r.id]) for r in masked if r.mask and reasons[r.id])
    return Scan(tuple(replace(r, mask=None) if reasons.get(r.id) else r for r in kept), tuple(skipped), skipped_masks)


def checked_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as displayed (EXIF orientation applied), after decoding the whole file.

    A JPEG is decoded at an eighth of its size: all of its data is read, so a truncated file is noticed, at a fraction
    of the cost. Raises what PIL raises for a file that is damaged, no image, or past PIL's pixel limit.
    """
    with Image.open(path) as image:
        size = displayed_size(image)  # before draft, which shrinks it
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
    return size


def _facts(
    paths: Sequence[Path],
    look: Callable[[Path], list[int]],
    kind: str,
    cache: ScanCache,
    progress: Progress | None,
) -> list[list[int] | str]:
    def one(path: Path) -> list[int] | str:
        try:
            key, status = f"{kind}:{os.path.abspath(path)}", _status(path)
            known = cache.get(key, status)
            if known is None:
                known = look(path)
                cache.put(key, status, known)
        except _BrokenError as error:
            return str(error)
        return known

    found: list[list[int] | str] = []
    executor = ThreadPoolExecutor(THREADS)
    try:
        # As an error, since PIL would otherwise print a warning and decode up to twice its pixel limit.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for result in executor.map(one, paths):
                found.append(result)
                if progress:
                    progress(len(found), len(paths))
    finally:
        executor.shutdown(cancel_futures=True)
    return found


def _status(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _BrokenError("missing") from error
    except (OSError, ValueError) as error:
        raise _BrokenError(f"cannot be opened ({error})") from error
    if not stat.S_ISREG(status.st_mode):
        raise _BrokenError("not a file")
    if status.st_size == 0:
        raise _BrokenError("empty file")
    if not os.access(path, os.R_OK):
        raise _BrokenError("no permission to read it")
    return status


def _look_at_image(path: Path) -> list[int]:
    return list(_decoded(checked_size, path))


def _look_at_mask(path: Path) -> list[int]:
    """Width, height, and the values that occur."""
    values = _decoded(mask_indices, path)
    return [values.shape[1], values.shape[0], *np.flatnonzero(np.bincount(values.ravel())).tolist()]


def _decoded(decode: Callable[[Path], T], path: Path) -> T:
    try:
        return decode(path)
    except UnidentifiedImageError as error:
        raise _BrokenError("not an image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _BrokenError(f"too many pixels, scale it down ({error})") from error
    except DECODE_ERRORS as error:
        raise _BrokenError(f"damaged ({' '.join(str(error).split())})") from error


def _objection(record: Record, found: list[int] | str) -> str:
    if isinstance(found, str):
        return found
    width, height, *values = found
    if (width, height) != (record.width, record.height):
        return f"is {width} x {height} pixels, its image {record.width} x {record.height}"
    if not set(values) & set(record.mask_values):
        return "has no pixel of the object"
    return ""
