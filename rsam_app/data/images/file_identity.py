"""What says that files are still the same, without reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import PIL

from rsam_app.data.records import Record

READING = 2
"""Raise it when `rsam_app.data` starts to make other pixels of the same files: what was made of older ones is then not
found."""


def files_hash(records: Sequence[Record | None]) -> str:
    """SHA-256 over the files of records: where they are, their size, when they were changed, and how much of them is
    painted over, and over what reads them; None separates."""
    reading = (READING, cv2.__version__, PIL.__version__, version("albumentations"))
    digest = hashlib.sha256(repr(reading).encode())
    for record in records:
        digest.update(repr(record and _facts(record)).encode())
    return digest.hexdigest()


def stamp(path: Path) -> tuple[int, int] | None:
    """A file's size and when it was changed, nanoseconds; None where there is none."""
    try:
        status = path.stat()
    except OSError:  # said when it is read
        return None
    return status.st_size, status.st_mtime_ns


def _facts(record: Record) -> tuple[str, int, int, int]:
    status = record.path.stat()
    return str(record.path.resolve()), status.st_size, status.st_mtime_ns, record.banner
