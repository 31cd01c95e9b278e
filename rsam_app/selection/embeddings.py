"""Kernels between embeddings, with widths relative to the pool's own distances."""

from __future__ import annotations

import numpy as np

_KERNEL_ROWS, _BLOCK = 256, 8192


def gaussians(first: np.ndarray, second: np.ndarray, widths: tuple[float, ...]) -> np.ndarray:
    """Return exp(-‖a - b‖² / width²) of unit vectors `(A, D)` and `(B, D)`, averaged over the widths: `(A, B)` float32
    in [0, 1]. Computed in blocks of rows."""
    kernel = np.zeros((len(first), len(second)), dtype=np.float32)
    for begin in range(0, len(first), _KERNEL_ROWS):
        squares = _negative_squares(first[begin : begin + _KERNEL_ROWS], second)
        for width in widths:
            kernel[begin : begin + _KERNEL_ROWS] += np.exp(squares * np.float32(1 / width**2))
    kernel /= len(widths)
    return kernel


def _negative_squares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return -‖a - b‖² of unit vectors, at most 0: `(A, B)`."""
    squares: np.ndarray = first @ second.T
    squares -= 1
    squares *= 2
    return np.asarray(np.minimum(squares, 0, out=squares))


def median_distance(units: np.ndarray, rng: np.random.Generator) -> float:
    """Return the median distance between two of at most 1,000 of the unit vectors `(N, D)`; 1 if there is no pair or
    the median is 0."""
    sample = units[sample_rows(np.arange(len(units)), 1000, rng)]
    pairs = np.triu_indices(len(sample), k=1)
    if not len(pairs[0]):
        return 1.0
    return float(np.sqrt(np.median(np.maximum(2 - 2 * (sample @ sample.T)[pairs], 0)))) or 1.0


def sample_rows(rows: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return at most `limit` of `rows` `(R,)`, drawn uniformly, in ascending order; all of them, unchanged, if they are
    no more."""
    return rows if len(rows) <= limit else np.sort(rng.choice(rows, limit, replace=False))


def finite_rows(embeddings: np.ndarray) -> np.ndarray:
    """Return the rows of `embeddings` `(N, D)` with finite values only: `(F,)` int64. Works in blocks."""
    blocks = [np.isfinite(embeddings[i : i + _BLOCK]).all(axis=1) for i in range(0, len(embeddings), _BLOCK)]
    return np.flatnonzero(np.concatenate(blocks)) if blocks else np.zeros(0, dtype=np.int64)


def directions(embeddings: np.ndarray) -> np.ndarray:
    """Scale `embeddings` `(N, D)` to length 1, float32; vectors of length 0 stay 0."""
    points = embeddings.astype(np.float32)
    norms: np.ndarray = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.maximum(norms, np.float32(1e-12)))
