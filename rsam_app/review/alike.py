"""How alike images are to a run: cosines with the nearest embedding, of as many images as there are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rsam_app.selection.strategy import directions, finite_rows

WIDTH = 64
"""Principal components that neighbours are looked for in; of those found the cosine is exact."""
CANDIDATES = 4
_BLOCK, _FITTED = 8192, 5000


def nearest_cosines(embeddings: np.ndarray, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
    """The cosine of each of `embeddings` `(N, D)` with the one most like it, `(N,)`: NaN where it is zero or not
    finite, or alone.

    Shots of a series and scenes that were photographed twice have a high one, and so have images that a network merely
    cannot tell apart: how high, no number says for all networks. Above 20,000 images a few in a hundred get a neighbour
    that is not quite the nearest (`duplicates.neighbours`). Beside the embeddings it needs some 1.2 KiB an image.
    """
    from rsam_app.duplicates.neighbours import Neighbours  # imports torch

    nearest = np.full(len(embeddings), np.nan)
    usable = finite_rows(embeddings)
    usable = usable[_filled(embeddings, usable)]
    if len(usable) < 2:
        return nearest
    narrow = principal_components(embeddings, usable, WIDTH)
    neighbours = Neighbours(narrow)
    found, _ = neighbours.search(narrow, CANDIDATES, np.arange(len(usable)), progress)
    for begin in range(0, len(usable), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        asked = directions(embeddings[usable[part]])
        units = directions(embeddings[usable[found[part].ravel()]]).reshape(*found[part].shape, -1)
        cosines = np.einsum("rd,rkd->rk", asked, units)
        nearest[usable[part]] = np.where(found[part] >= 0, cosines, -1.0).max(axis=1)
    return nearest


def _filled(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which of some rows are not all zeros: `(R,)`."""
    blocks = [embeddings[rows[begin : begin + _BLOCK]].any(axis=1) for begin in range(0, len(rows), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=bool)


def principal_components(embeddings: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
    """The first `width` principal components `(R, min(width, D))`, float32, of the directions of some rows of
    `embeddings` `(N, D)`, fitted on 5,000 of them, worked out by the block."""
    some = directions(embeddings[np.random.default_rng(0).permutation(rows)[:_FITTED]]).astype(np.float64)
    mean = some.mean(axis=0)
    apart = some - mean
    axes = np.linalg.eigh(apart.T @ apart)[1][:, ::-1][:, :width].astype(np.float32)
    components = np.empty((len(rows), axes.shape[1]), dtype=np.float32)
    for begin in range(0, len(rows), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        components[part] = (directions(embeddings[rows[part]]) - mean.astype(np.float32)) @ axes
    return components
