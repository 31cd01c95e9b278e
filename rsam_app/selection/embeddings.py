"""How alike embeddings are, at the scale of a pool: kernels whose width is measured in its own distances."""

from __future__ import annotations

import numpy as np


def gaussians(first: np.ndarray, second: np.ndarray, widths: tuple[float, ...]) -> np.ndarray:
    """exp(-‖a - b‖² / width²) of unit vectors `(A, D)` and `(B, D)`, the mean over some widths: `(A, B)` float32 in
    [0, 1], computed by the block of rows."""
    found = np.zeros((len(first), len(second)), dtype=np.float32)
    for begin in range(0, len(first), _ROWS):
        squares = _negative_squares(first[begin : begin + _ROWS], second)
        for width in widths:
            found[begin : begin + _ROWS] += np.exp(squares * np.float32(1 / width**2))
    found /= len(widths)
    return found


def median_distance(units: np.ndarray, rng: np.random.Generator) -> float:
    """Of two different ones among at most 1,000 of the unit vectors `(N, D)`; 1 where there are none, or all agree."""
    some = units[sample_rows(np.arange(len(units)), 1000, rng)]
    pairs = np.triu_indices(len(some), k=1)
    if not len(pairs[0]):
        return 1.0
    return float(np.sqrt(np.median(np.maximum(2 - 2 * (some @ some.T)[pairs], 0)))) or 1.0


def sample_rows(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most `most` of `rows` `(R,)`, drawn evenly, in rising order; all of them, as they are, where they are few."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _negative_squares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """-‖a - b‖² of unit vectors, at most 0: `(A, B)`."""
    squares = first @ second.T
    squares -= 1
    squares *= 2
    np.minimum(squares, 0, out=squares)
    negative: np.ndarray = squares
    return negative


_ROWS = 256


def finite_rows(embeddings: np.ndarray) -> np.ndarray:
    """The rows of `embeddings` `(N, D)` that are finite throughout, found in blocks: `(F,)` int64."""
    blocks = [np.isfinite(embeddings[i : i + _BLOCK]).all(axis=1) for i in range(0, len(embeddings), _BLOCK)]
    return np.flatnonzero(np.concatenate(blocks)) if blocks else np.zeros(0, dtype=np.int64)


def directions(embeddings: np.ndarray) -> np.ndarray:
    """`embeddings` `(N, D)` at length 1, float32; those of length 0 stay."""
    points = embeddings.astype(np.float32)
    norms: np.ndarray = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.maximum(norms, np.float32(1e-12))


_BLOCK = 8192
