"""Identity of image files for caches: by path, size and modification time, without reading them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import PIL

from rsam_app.data.records import Record
from rsam_app.system.files import fingerprint
from rsam_app.system.versions import DECODED_IMAGES


def files_hash(records: Sequence[Record | None]) -> str:
    """Return the SHA-256 of the identity of the records' files, their banners, and the versions of what decodes them.

    None separates groups of records. Raises `OSError` if a file is missing.
    """
    libraries = (cv2.__version__, PIL.__version__, version("albumentations"))
    return fingerprint(DECODED_IMAGES, libraries, [record and _identity(record) for record in records])


def stamp(path: Path) -> tuple[int, int] | None:
    """Return a file's size and modification time in nanoseconds; None if it cannot be opened."""
    try:
        status = path.stat()
    except OSError:  # reported when the file is read
        return None
    return status.st_size, status.st_mtime_ns


def _identity(record: Record) -> tuple[str, int, int, int]:
    status = record.path.stat()
    return str(record.path.resolve()), status.st_size, status.st_mtime_ns, record.banner
