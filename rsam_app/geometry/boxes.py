"""Upright boxes as edges `left, top, right, bottom`: clipping, areas, and the box around a mask."""

from __future__ import annotations

import numpy as np

from rsam_app.geometry.types import Floats, Mask


def clip_edges(edges: Floats, size: tuple[float, float] | Floats) -> Floats:
    """Clip edges `(N, 4)` to images of `size` (width, height), one for all or `(N, 2)`."""
    sizes = np.broadcast_to(np.asarray(size, dtype=np.float64), (len(edges), 2))
    return np.clip(edges, 0.0, np.concatenate([sizes, sizes], axis=1))


def areas(edges: Floats) -> Floats:
    """Return the areas `(N,)` of edges `(N, 4)`."""
    return np.asarray((edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1]))


def mask_edges(mask: Mask) -> Floats:
    """Return the edges `(1, 4)` of the box around a mask; `(0, 4)` for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return np.zeros((0, 4))
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=np.float64)


def relative_box(left: float, top: float, right: float, bottom: float, size: tuple[int, int]) -> list[float]:
    """Return `x, y, width, height` relative to an image of `size` (width, height) pixels, clipped to it, in [0, 1]."""
    x, right = (min(max(edge / size[0], 0.0), 1.0) for edge in (left, right))
    y, bottom = (min(max(edge / size[1], 0.0), 1.0) for edge in (top, bottom))
    return [x, y, right - x, bottom - y]
