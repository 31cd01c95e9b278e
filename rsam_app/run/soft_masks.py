"""Soft masks of a predictions table, as small images for the review."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rsam_app.system.files import sha256_of

ENLARGED = 8
"""Enlargement of a mask, e.g. from 7 × 7 to 56 × 56 pixels: the App draws pixels as squares."""


def masks_folder(table: Path) -> Path:
    """The soft masks of a predictions table: the folder `SPLIT.masks` beside `SPLIT.parquet`."""
    return table.with_name(f"{table.stem}.masks")


def mask_file(folder: Path, record_id: str) -> Path:
    """The file of one record, named by a digest as an id may be any path; spread over folders that are fast to list."""
    name = sha256_of(record_id)[:32]
    return folder / name[:2] / f"{name}.png"


def prepare_masks(table: Path, record_ids: Sequence[str], masks: np.ndarray | None) -> Path:
    """Remove the masks of the old table, and write new masks `(N, h, w)` uint8, if any, into a temporary folder.

    Returns that folder. Call this before the table is replaced and `place_masks` after: a crash in between leaves no
    masks rather than wrong ones.
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
    """Move the masks from the temporary folder to their place beside the table."""
    if partial.exists():
        os.replace(partial, masks_folder(table))
