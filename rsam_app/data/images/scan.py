"""The scan: opens and decodes every image once, so that training never meets a broken file, and caches the result."""

from __future__ import annotations

import json
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from rsam_app.data.images.decoding import DECODE_ERRORS, LARGEST_FILE, TOO_LARGE, displayed_size
from rsam_app.data.images.depth import load_colour, require_finite, stores_deep_colour
from rsam_app.data.images.masks import mask_indices
from rsam_app.data.records import Record, Skipped
from rsam_app.system.cache.files import cache_folder
from rsam_app.system.files import sha256_of, write_atomically
from rsam_app.system.hardware import available_cores
from rsam_app.system.json_files import read_json
from rsam_app.system.progress import Progress
from rsam_app.system.versions import IMAGE_SCAN

T = TypeVar("T")

THREADS = min(8, available_cores())


class _BrokenError(Exception):
    """A file that cannot be used; the message is the reason."""


@dataclass(frozen=True)
class Scan:
    """The usable records with their displayed sizes, and the files that were left out."""

    records: tuple[Record, ...]
    skipped: tuple[Skipped, ...]
    skipped_masks: tuple[Skipped, ...]


class ScanCache:
    """Facts (integers) about files, valid as long as a file's size and modification time (ns) do not change.

    A missing, damaged or older cache file counts as empty. Concurrent commands replace the file atomically; the last
    one wins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stored = _read_entries(path)
        self._used: dict[str, object] = {}

    def get(self, key: str, status: os.stat_result) -> list[int] | None:
        """Return the facts under `key`, or None if there are none for the file in this state."""
        entry = self._stored.get(key)
        if not isinstance(entry, list) or len(entry) != 3 or entry[:2] != [status.st_size, status.st_mtime_ns]:
            return None
        facts = entry[2]
        if not isinstance(facts, list) or not all(type(fact) is int and fact >= 0 for fact in facts):
            return None
        self._used[key] = entry
        return facts

    def put(self, key: str, status: os.stat_result, facts: Iterable[int]) -> None:
        """Store facts about the file in this state."""
        self._used[key] = [status.st_size, status.st_mtime_ns, list(facts)]

    def save(self) -> str | None:
        """Write the entries that were read or stored since it was opened; returns a note if that fails, else None."""
        if self._used == self._stored:
            return None
        try:
            write_atomically(self.path, json.dumps({"version": IMAGE_SCAN, "entries": self._used}), shared=True)
        except OSError as error:
            return f"the scan of the images could not be cached, so the next command repeats it ({error})"
        return None


def cache_path(name: str, root: Path) -> Path:
    """Return the path of a dataset's scan cache, in `$XDG_CACHE_HOME/rsam/scans` (default `~/.cache/rsam/scans`)."""
    return cache_folder() / "scans" / f"{name}-{sha256_of(os.fsencode(os.path.abspath(root)))[:12]}.json"


def scan(records: Sequence[Record], cache: ScanCache, progress: Progress | None = None) -> Scan:
    """Decode every image and mask that `cache` does not know, and separate those that cannot be used.

    A record with a missing or broken image is left out. A mask that is missing, broken, of another size than its image,
    or without a pixel of the object is left out while its record stays. The cache is updated, but not saved.
    """
    images = _facts([r.path for r in records], _scan_image, "image", cache, progress)
    usable, skipped = [], []
    for record, size in zip(records, images, strict=True):
        if isinstance(size, str):
            skipped.append(Skipped(record.path, size, record.id))
        else:
            usable.append(replace(record, width=size[0], height=size[1]))
    masked = [r for r in usable if r.mask]
    masks = _facts([r.mask for r in masked if r.mask], _scan_mask, "mask", cache, None)
    objections = {r.id: _objection(r, facts) for r, facts in zip(masked, masks, strict=True)}
    skipped_masks = tuple(Skipped(r.mask, objections[r.id]) for r in masked if r.mask and objections[r.id])
    scanned = tuple(replace(r, mask=None) if objections.get(r.id) else r for r in usable)
    return Scan(scanned, tuple(skipped), skipped_masks)


def checked_size(path: Path) -> tuple[int, int]:
    """Return the width and height in pixels as displayed (EXIF orientation applied), after decoding the whole file.

    A JPEG is decoded at an eighth of its size: this reads all of its data and so notices a truncated file, at a
    fraction of the cost. Raises what PIL raises for a file that is damaged, not an image, or above PIL's pixel limit,
    and `ValueError` for pixels that are NaN or infinite.
    """
    with Image.open(path) as image:
        deep = stores_deep_colour(image)  # before the size, which may load it
        size = displayed_size(image)  # before draft, which shrinks it
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        loaded = load_colour(image, deep, path.read_bytes)
        if loaded.mode == "F":
            require_finite(np.asarray(loaded))
    return size


def _facts(
    paths: Sequence[Path],
    read_facts: Callable[[Path], list[int]],
    kind: str,
    cache: ScanCache,
    progress: Progress | None,
) -> list[list[int] | str]:
    """Return the facts about each file, from the cache if it has them, or the reason why the file cannot be used."""

    def one(path: Path) -> list[int] | str:
        try:
            key, status = f"{kind}:{os.path.abspath(path)}", _status(path)
            known = cache.get(key, status)
            if known is None:
                known = read_facts(path)
                cache.put(key, status, known)
        except _BrokenError as error:
            return str(error)
        return known

    results: list[list[int] | str] = []
    executor = ThreadPoolExecutor(THREADS)
    try:
        # As an error, since PIL would otherwise print a warning and decode up to twice its pixel limit.
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for result in executor.map(one, paths):
                results.append(result)
                if progress:
                    progress(len(results), len(paths))
    finally:
        executor.shutdown(cancel_futures=True)
    return results


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
    if status.st_size > LARGEST_FILE:
        raise _BrokenError(TOO_LARGE)
    if not os.access(path, os.R_OK):
        raise _BrokenError("no permission to read it")
    return status


def _scan_image(path: Path) -> list[int]:
    return list(_decoded(checked_size, path))


def _scan_mask(path: Path) -> list[int]:
    """Return width, height, and the values that occur."""
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


def _objection(record: Record, facts: list[int] | str) -> str:
    """Return why a mask does not fit its record; empty if it fits."""
    if isinstance(facts, str):
        return facts
    width, height, *values = facts
    if (width, height) != (record.width, record.height):
        return f"is {width} x {height} pixels, its image {record.width} x {record.height}"
    if not set(values) & set(record.mask_values):
        return "has no pixel of the object"
    return ""


def _read_entries(path: Path) -> dict[str, object]:
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    entries = content.get("entries") if isinstance(content, dict) and content.get("version") == IMAGE_SCAN else None
    return entries if isinstance(entries, dict) else {}
