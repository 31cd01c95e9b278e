"""The scan: every image is opened and decoded once, so that training never meets a broken file."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from rsam_app.data.images.decoding import displayed_size
from rsam_app.data.images.masks import mask_indices
from rsam_app.data.records import Record, Skipped
from rsam_app.system.cache.files import cache_folder
from rsam_app.system.hardware import available_cores
from rsam_app.system.progress import Progress

VERSION = 1
"""Raise it when the scan starts to find other things: older files are then ignored."""


class ScanCache:
    """Facts (integers) about files, valid while their size and modification time (ns) stay as they were.

    A missing, damaged or older cache file is an empty cache; one that cannot be written is no error. Concurrent
    commands replace the file atomically, so that the last one's holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = _read(path)
        self._kept: dict[str, object] = {}

    def get(self, key: str, status: os.stat_result) -> list[int] | None:
        """The facts under `key`, or None where there are none for the file as it is now."""
        entry = self._entries.get(key)
        if not isinstance(entry, list) or len(entry) != 3 or entry[:2] != [status.st_size, status.st_mtime_ns]:
            return None
        facts = entry[2]
        if not isinstance(facts, list) or not all(type(fact) is int and fact >= 0 for fact in facts):
            return None
        self._kept[key] = entry
        return facts

    def put(self, key: str, status: os.stat_result, facts: Iterable[int]) -> None:
        """Remember facts about the file as `status` describes it."""
        self._kept[key] = [status.st_size, status.st_mtime_ns, list(facts)]

    def save(self) -> str | None:
        """Write what was asked for or put since it was opened; returns why it could not, or None."""
        if self._kept == self._entries:
            return None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as stream:
                json.dump({"version": VERSION, "entries": self._kept}, stream)
            os.replace(stream.name, self.path)
        except OSError as error:
            return f"the scan of the images could not be kept for the next time ({error})"
        return None


def cache_path(name: str, root: Path) -> Path:
    """Where the scan of a dataset is kept: below `$XDG_CACHE_HOME` (default `~/.cache`), `rsam/scans`."""
    digest = hashlib.sha256(os.path.abspath(root).encode(errors="surrogateescape")).hexdigest()[:12]
    return cache_folder() / "scans" / f"{name}-{digest}.json"


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if (
        not isinstance(content, dict)
        or content.get("version") != VERSION
        or not isinstance(content.get("entries"), dict)
    ):
        return {}
    entries: dict[str, object] = content["entries"]
    return entries


T = TypeVar("T")

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
    images = _facts([r.path for r in records], _scan_image, "image", cache, progress)
    kept, skipped = [], []
    for record, found in zip(records, images, strict=True):
        if isinstance(found, str):
            skipped.append(Skipped(record.path, found))
        else:
            kept.append(replace(record, width=found[0], height=found[1]))
    masked = [r for r in kept if r.mask]
    looks = _facts([r.mask for r in masked if r.mask], _scan_mask, "mask", cache, None)
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
    read_size: Callable[[Path], list[int]],
    kind: str,
    cache: ScanCache,
    progress: Progress | None,
) -> list[list[int] | str]:
    def one(path: Path) -> list[int] | str:
        try:
            key, status = f"{kind}:{os.path.abspath(path)}", _status(path)
            known = cache.get(key, status)
            if known is None:
                known = read_size(path)
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


def _scan_image(path: Path) -> list[int]:
    return list(_decoded(checked_size, path))


def _scan_mask(path: Path) -> list[int]:
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
