"""Crops: what lies inside each rectangle, turned upright, in class folders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rsam_app.data.images.decoding import read_image
from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.export.names import class_files
from rsam_app.geometry.clipping import inside, rectangle_corners
from rsam_app.geometry.types import Rectangle

QUALITY = 95
"""Of the JPEG files: the crop is the second generation of a photograph."""


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `folder/SPLIT/CLASS/image.jpg` for each item, at the resolution of the photograph; see `upright_crop`."""
    files, renamed = class_files(items, ".jpg")
    for item, file in zip(items, files, strict=True):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        image, _ = read_image(item.record.path, banner=item.record.banner)
        Image.fromarray(upright_crop(image, _rectangle(item))).save(path, quality=QUALITY, subsampling=0)
    notes = [*renamed, "what a rectangle shows beyond its image repeats the image's border"]
    return Written(files, "layout: folder\nroot: '{out}'", tuple(notes))


def _rectangle(item: ExportItem) -> Rectangle:
    if item.rectangle is None:
        raise ValueError(f"{item.record.id}: has no rectangle to crop along")
    return item.rectangle


def has_crop(item: ExportItem) -> bool:
    """Whether some of the item's rectangle lies inside the image."""
    if item.rectangle is None:
        return False
    return inside(rectangle_corners(item.rectangle), item.record.width, item.record.height) is not None


def upright_crop(image: np.ndarray, rectangle: Rectangle) -> np.ndarray:
    """What `image` `(H, W, 3)` uint8 shows inside `rectangle`, turned until its sides are upright: `(h, w, 3)` uint8.

    It is turned by at most 45°, whichever side is the rectangle's `width`, so that what is up stays up. The scale stays
    as it is; values between pixels are interpolated bicubically where it is turned, and the border is repeated outside.
    """
    import cv2

    cx, cy, width, height, angle = rectangle
    turns = round(angle / (math.pi / 2))
    angle -= turns * math.pi / 2
    if turns % 2:
        width, height = height, width
    columns, rows = max(1, round(width)), max(1, round(height))
    cos, sin = math.cos(angle), math.sin(angle)
    # From a pixel of the crop to one of the image; OpenCV counts from the centre of the first pixel.
    x0 = cx - 0.5 - cos * (columns - 1) / 2 + sin * (rows - 1) / 2
    y0 = cy - 0.5 - sin * (columns - 1) / 2 - cos * (rows - 1) / 2
    inverse = np.array([[cos, -sin, x0], [sin, cos, y0]])
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    crop: np.ndarray = cv2.warpAffine(image, inverse, (columns, rows), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return crop
