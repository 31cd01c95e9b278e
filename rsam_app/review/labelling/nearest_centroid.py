"""Nearest-centroid classification of frozen features: a class can be suggested from its first image on."""

from __future__ import annotations

import numpy as np

TEMPERATURE = 0.1
"""Difference of two cosines that makes one class e times as probable as the other."""


def nearest_centroids(
    known: np.ndarray, labels: np.ndarray, vectors: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of `vectors` `(N, D)` the class whose centroid has the largest cosine, `(N,)` int64, and its
    probability in [0, 1], `(N,)` float32: a softmax of the cosines, 1 sure and 1/C a guess among C classes.

    `known` `(L, D)` are the labelled vectors and `labels` `(L,)` their classes 0 … C - 1, each with at least one; all
    vectors are centred on `mean` `(D,)` and scaled to length 1 before. Ours; the classifier is that of prototypical
    networks (Snell et al., arXiv 1703.05175) on fixed features.
    """
    units = _directions(known, mean)
    centroids = np.zeros((int(labels.max()) + 1, units.shape[1]), dtype=np.float32)
    np.add.at(centroids, labels, units)
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    cosines = _directions(vectors, mean) @ centroids.T
    best = cosines.argmax(axis=1)
    shares = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / TEMPERATURE)
    return best, np.asarray(1 / shares.sum(axis=1), dtype=np.float32)


def _directions(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    centred = vectors.astype(np.float32) - mean
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))
