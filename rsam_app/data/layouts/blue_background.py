"""Masks from pictures whose background was painted blue, as Oxford Flowers-102 releases its segmentations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from rsam_app.data.kept_files import kept_file
from rsam_app.data.layouts.listing import require_folder
from rsam_app.data.records import Record
from rsam_app.data.scan import DECODE_ERRORS, THREADS

BLUE = (0, 0, 254)
FAR = 96
"""Distance in RGB from which a pixel is no background; JPEG compression blurs the blue by some tens."""


def flower_masks(folder: Path, records: Sequence[Record]) -> list[Record]:
    """The records with masks made of `folder/segmim_NNNNN.jpg` for `image_NNNNN.jpg`, where that file is there.

    A file that cannot be read becomes the mask itself, for the scan to name and leave out. Raises `UserError` where the
    folder is missing.
    """
    require_folder(folder, "the option masks: segmim", "Unpack 102segmentations.tgz there, or take the option out.")
    with ThreadPoolExecutor(THREADS) as executor:
        masks = executor.map(lambda r: _mask(folder / r.path.name.replace("image_", "segmim_")), records)
        return [replace(r, mask=mask, mask_values=(255,)) for r, mask in zip(records, masks, strict=True)]


def not_blue(image: Image.Image) -> np.ndarray:
    """Pixels `(H, W)` that are 255 where the picture shows something and 0 where it was painted blue."""
    distance = np.linalg.norm(np.asarray(image.convert("RGB"), dtype=np.float32) - BLUE, axis=2)
    return np.where(distance > FAR, 255, 0).astype(np.uint8)


def _mask(path: Path) -> Path | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    return kept_file(content, ".png", "masks", lambda: _as_png(content)) or path


def _as_png(content: bytes) -> bytes | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            mask = Image.fromarray(not_blue(image))
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return None
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    return stream.getvalue()
