"""Nearest-centroid classification of frozen features: a class can be suggested from its first image on."""

from __future__ import annotations

import numpy as np

TEMPERATURE = 0.07
"""Difference of two cosines that makes one class e times as probable as the other. Of .03 to .2, the one with the best
probabilities for 3 and 20 species of birds with 1, 3 and 10 labels each (features of mobilenetv2_100)."""


def nearest_centroids(known: np.ndarray, labels: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of the unit vectors `(N, D)` the class whose centroid has the largest cosine, `(N,)` int64, and
    its probability in [0, 1], `(N,)` float32: a softmax of the cosines, 1 sure and 1/C a guess among C classes.

    `known` `(L, D)` are the labelled unit vectors and `labels` `(L,)` their classes 0 … C - 1, each with at least one.
    The classifier is that of prototypical networks (Snell et al., arXiv 1703.05175) on fixed features; ours is the
    scale of the cosines.
    """
    members = np.zeros((int(labels.max()) + 1, len(labels)), dtype=np.float32)
    members[labels, np.arange(len(labels))] = 1
    centroids = members @ known.astype(np.float32)
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), np.float32(1e-12))
    cosines = vectors.astype(np.float32) @ centroids.T
    best = cosines.argmax(axis=1)
    shares = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / TEMPERATURE)
    return best, np.asarray(1 / shares.sum(axis=1), dtype=np.float32)
