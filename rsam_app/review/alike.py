"""Images that are nearly the same, found by a run's embeddings, which stay beside the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rsam_app.selection.strategy import directions

NEAR = 0.97
"""Cosine of two embeddings from which on two images count as near-duplicates."""
WIDTH = 64
"""Principal components that neighbours are looked for in; of those found the cosine is exact."""
CANDIDATES = 4
MOST = 100_000
"""Images above which nothing is compared: it takes a minute there, and four times as long for twice as many."""
_BLOCK = 2048


@dataclass(frozen=True)
class Alike:
    """For each of N images: `nearest` `(N,)`, the cosine with the image most like it; `elsewhere` `(N,)`, with the one
    most like it in another split, NaN where there is no other; `group` `(N,)`, the row of the first of its
    near-duplicates, -1 where it has none."""

    nearest: np.ndarray
    elsewhere: np.ndarray
    group: np.ndarray


def find_alike(embeddings: np.ndarray, splits: np.ndarray, near: float = NEAR) -> Alike:
    """Near-duplicates among embeddings `(N, D)` of images of `splits` `(N,)`, by cosine.

    Rows that are not finite, or zero, are like nothing (NaN).
    """
    count = len(embeddings)
    usable = np.flatnonzero(np.isfinite(embeddings).all(axis=1) & (np.abs(embeddings).max(axis=1, initial=0) > 0))
    nearest, elsewhere = np.full(count, np.nan), np.full(count, np.nan)
    group = np.full(count, -1)
    if len(usable) < 2:
        return Alike(nearest, elsewhere, group)
    units = directions(embeddings[usable])
    narrow = principal_components(units, WIDTH)
    of = np.unique(splits[usable], return_inverse=True)[1]
    pairs = []
    for start in range(0, len(usable), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(usable)))
        # Distances, not cosines: the components are taken about the mean, where lengths differ.
        distance = (narrow**2).sum(axis=1)[None] - 2 * narrow[rows] @ narrow.T
        distance[np.arange(len(rows)), rows] = np.inf
        found, cosines = _closest(units, rows, distance)
        nearest[usable[rows]] = cosines.max(axis=1)
        close = cosines >= near
        pairs.append(np.stack([np.repeat(rows, close.sum(axis=1)), found[close]], axis=1))
        if of.any():
            distance[of[rows][:, None] == of[None]] = np.inf
            elsewhere[usable[rows]] = _closest(units, rows, distance)[1].max(axis=1)
    linked = np.concatenate(pairs)
    graph = coo_matrix((np.ones(len(linked)), (linked[:, 0], linked[:, 1])), shape=(len(usable),) * 2)
    component = connected_components(graph, directed=False)[1]
    first = np.full(component.max() + 1, len(usable))
    np.minimum.at(first, component, np.arange(len(usable)))
    paired = np.bincount(component)[component] > 1
    group[usable[paired]] = usable[first[component[paired]]]
    return Alike(nearest, elsewhere, group)


def principal_components(points: np.ndarray, width: int) -> np.ndarray:
    """The first `width` principal components `(N, min(width, D))` of points `(N, D)`, fitted on 5,000 of them."""
    some = points[np.random.default_rng(0).permutation(len(points))[:5000]]
    mean = some.mean(axis=0)
    apart = some - mean
    _, directions = np.linalg.eigh(apart.T @ apart)
    components: np.ndarray = (points - mean) @ directions[:, ::-1][:, :width]
    return components


def _closest(units: np.ndarray, rows: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates `(R, K)` that are nearest by `distance` `(R, N)`, and their exact cosines with `rows`; NaN is -1."""
    count = min(CANDIDATES, distance.shape[1] - 1)
    found = np.argpartition(distance, count - 1, axis=1)[:, :count]
    cosines = np.einsum("rd,rkd->rk", units[rows], units[found])
    return found, np.where(np.isfinite(np.take_along_axis(distance, found, axis=1)), cosines, -1.0)
