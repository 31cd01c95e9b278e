"""Masks: the pixels of an image that belong to the object, as annotated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from rsam_app.data.records import Record


def read_mask(record: Record) -> npt.NDArray[np.bool_]:
    """Return the object's pixels `(height, width)`, True inside, oriented as the image is displayed.

    Raises `ValueError` if the record has no mask.
    """
    if record.mask is None:
        raise ValueError(f"record {record.id} has no mask")
    return np.isin(mask_indices(record.mask), record.mask_values)


def mask_indices(path: Path) -> npt.NDArray[np.uint8]:
    """Return a mask file's values `(height, width)`: palette indices, or without a palette grey levels up to 255.

    Masks with a palette mean its indices, whatever colours display them. Raises what PIL raises for a file that is not
    an image.
    """
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        single = upright if upright.mode in ("1", "L", "P", "I", "I;16", "I;16B") else upright.convert("L")
        return np.asarray(np.clip(np.asarray(single), 0, 255).astype(np.uint8))
