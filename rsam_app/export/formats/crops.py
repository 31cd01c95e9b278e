"""Crops: the inside of each rectangle, turned upright, in class folders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rsam_app.data.images.decoding import read_image
from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.export.names import class_files
from rsam_app.geometry.clipping import clip_polygon, rectangle_corners
from rsam_app.geometry.types import Rectangle

QUALITY = 95
"""JPEG quality, high because the crop is the second generation of a photograph."""


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `folder/SPLIT/CLASS/image.jpg` for each item, at the photograph's resolution; see `upright_crop`."""
    files, renamed = class_files(items, ".jpg")
    for item, file in zip(items, files, strict=True):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        image, _ = read_image(item.record.path, banner=item.record.banner)
        Image.fromarray(upright_crop(image, _rectangle(item))).save(path, quality=QUALITY, subsampling=0)
    notes = [*renamed, "beyond the image, crops repeat its border"]
    return Written(files, "layout: folder\nroot: '{out}'", tuple(notes))


def _rectangle(item: ExportItem) -> Rectangle:
    if item.rectangle is None:
        raise ValueError(f"{item.record.id}: no rectangle to crop")
    return item.rectangle


def has_crop(item: ExportItem) -> bool:
    """Whether part of the item's rectangle is inside the image."""
    record = item.record
    return bool(item.rectangle and clip_polygon(rectangle_corners(item.rectangle), record.width, record.height))


def upright_crop(image: np.ndarray, rectangle: Rectangle) -> np.ndarray:
    """Crop `image` `(H, W, 3)` uint8 along `rectangle`, turned until its sides are upright: `(h, w, 3)` uint8.

    It is turned by at most 45°, whichever side is the rectangle's `width`, so that up stays up. The scale is unchanged;
    turned crops are interpolated bicubically, and the border is repeated outside the image.
    """
    import cv2

    cx, cy, width, height, angle = rectangle
    turns = round(angle / (math.pi / 2))
    angle -= turns * math.pi / 2
    if turns % 2:
        width, height = height, width
    columns, rows = max(1, round(width)), max(1, round(height))
    cos, sin = math.cos(angle), math.sin(angle)
    # Maps pixels of the crop to those of the image; OpenCV counts from the centre of the first pixel.
    x0 = cx - 0.5 - cos * (columns - 1) / 2 + sin * (rows - 1) / 2
    y0 = cy - 0.5 - sin * (columns - 1) / 2 - cos * (rows - 1) / 2
    inverse = np.array([[cos, -sin, x0], [sin, cos, y0]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    crop: np.ndarray = cv2.warpAffine(image, inverse, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return crop
