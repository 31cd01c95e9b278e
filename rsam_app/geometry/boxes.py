"""Upright boxes as edges `left, top, right, bottom`: clipped, measured, and drawn around masks."""

from __future__ import annotations

import numpy as np

from rsam_app.geometry.types import Box, Floats, Mask


def clip_edges(edges: Floats, size: tuple[float, float] | Floats) -> Floats:
    """`left, top, right, bottom` `(N, 4)` clipped to images of `size` (width, height), one or `(N, 2)`."""
    sizes = np.broadcast_to(np.asarray(size, dtype=np.float64), (len(edges), 2))
    return np.clip(edges, 0.0, np.concatenate([sizes, sizes], axis=1))


def areas(edges: Floats) -> Floats:
    """Areas `(N,)` of boxes `left, top, right, bottom` `(N, 4)`."""
    return np.asarray((edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1]))


def mask_edges(mask: Mask) -> Floats:
    """The upright box `left, top, right, bottom` `(1, 4)` around a mask, `(0, 4)` around an empty one."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return np.zeros((0, 4))
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=np.float64)


def relative_box(box: Box, width: int, height: int) -> list[float]:
    """`x, y, width, height` relative to an image of `width × height` pixels, in [0, 1], clipped to it."""
    left, top = max(box[0], 0.0) / width, max(box[1], 0.0) / height
    right, bottom = min(box[0] + box[2], width) / width, min(box[1] + box[3], height) / height
    return [left, top, max(right - left, 0.0), max(bottom - top, 0.0)]
