"""A run's embeddings as points in the plane, for the App's embeddings panel; two numbers an image are all it stores."""

from __future__ import annotations

import numpy as np

from rsam_app.review.alike import principal_components
from rsam_app.selection.strategy import finite_rows

LANDMARKS = 1500
"""Images that t-SNE places; the time it takes grows faster than their number, seven seconds on one core for these."""
NEIGHBOURS = 8
_WIDTH, _BLOCK = 50, 4096


def map_embeddings(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points `(N, 2)` of embeddings `(N, D)`: alike images lie close together. The same every time.

    t-SNE (van der Maaten & Hinton 2008, by scikit-learn) of the first 50 principal components, by cosine; of more than
    1,500 images it places so many, and each other one among its nearest of these, so the time grows with their number
    and no faster. (landmarks after the paper's section 5, simplified) Rows that are not finite lie in the middle.
    """
    points = np.zeros((len(embeddings), 2))
    usable = finite_rows(embeddings)
    if len(usable) < 4:
        return points
    narrow = principal_components(embeddings, usable, min(_WIDTH, len(usable) - 1))
    landmarks = np.sort(np.random.default_rng(seed).permutation(len(usable))[:LANDMARKS])
    placed = _place(narrow[landmarks], seed)
    points[usable] = _among(narrow, narrow[landmarks], placed)
    points[usable[landmarks]] = placed
    return points


def _place(narrow: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(narrow) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, max_iter=500)
    placed: np.ndarray = tsne.fit_transform(narrow)
    return placed


def _among(narrow: np.ndarray, landmarks: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Means of the nearest landmarks' places, the nearer the heavier."""
    count = min(NEIGHBOURS, len(landmarks))
    points = np.empty((len(narrow), 2))
    for start in range(0, len(narrow), _BLOCK):
        part = narrow[start : start + _BLOCK]
        squared = (part**2).sum(axis=1)[:, None] - 2 * part @ landmarks.T + (landmarks**2).sum(axis=1)[None]
        chosen = np.argpartition(squared, count - 1, axis=1)[:, :count]
        apart = np.maximum(np.take_along_axis(squared, chosen, axis=1), 1e-9)
        weights = 1 / apart
        points[start : start + _BLOCK] = np.einsum("nk,nkd->nd", weights, placed[chosen]) / weights.sum(axis=1)[:, None]
    return points
