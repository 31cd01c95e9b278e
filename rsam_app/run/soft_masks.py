"""Soft masks beside the predictions: where each image's features were let through, as small images for review."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

ENLARGED = 8
"""A map of 7 × 7 cells is kept at 56 × 56: the App paints each pixel as a square."""


def masks_folder(table: Path) -> Path:
    """Where the soft masks of a predictions table lie: `SPLIT.masks` beside `SPLIT.parquet`."""
    return table.with_name(f"{table.stem}.masks")


def mask_file(folder: Path, record_id: str) -> Path:
    """The file of one record, named by a digest: an id may be any path, and a folder of all would be slow to list."""
    name = hashlib.sha256(record_id.encode()).hexdigest()[:32]
    return folder / name[:2] / f"{name}.png"


def prepare_masks(table: Path, record_ids: Sequence[str], masks: np.ndarray | None) -> Path:
    """Remove the masks that belong to the table as it was, and write new ones `(N, h, w)` uint8 aside, where given.

    Call before the table is replaced, and `place_masks` after: a crash in between leaves none rather than wrong ones.
    """
    folder = masks_folder(table)
    partial = folder.with_name(f"{folder.name}.partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    for record_id, mask in zip(record_ids, [] if masks is None else masks, strict=masks is not None):
        path = mask_file(partial, record_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (mask.shape[1] * ENLARGED, mask.shape[0] * ENLARGED)
        done, encoded = cv2.imencode(".png", cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR))
        if not done:
            raise ValueError(f"a mask of shape {mask.shape} and type {mask.dtype} cannot be written")
        path.write_bytes(encoded.tobytes())
    return partial


def place_masks(table: Path, partial: Path) -> None:
    """Put the masks that were written aside beside their table."""
    if partial.exists():
        os.replace(partial, masks_folder(table))
