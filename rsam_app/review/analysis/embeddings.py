"""How alike images are to a run: cosines with the nearest embedding, of as many images as there are."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import directions, finite_rows
from rsam_app.system.progress import Progress

WIDTH = 64
"""Principal components that neighbours are looked for in; of those found the cosine is exact."""
CANDIDATES = 4
_BLOCK, _FITTED = 8192, 5000


def nearest_cosines(embeddings: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """The cosine of each of `embeddings` `(N, D)` with the one most like it, `(N,)`: NaN where it is zero or not
    finite, or alone.

    Shots of a series and scenes that were photographed twice have a high one, and so have images that a network merely
    cannot tell apart: how high, no number says for all networks. Above 20,000 images a few in a hundred get a neighbour
    that is not quite the nearest (`duplicates.neighbours`). Beside the embeddings it needs some 1.2 KiB an image.
    """
    from rsam_app.data.near_duplicates.nearest_neighbours import Neighbours  # imports torch

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


LANDMARKS = 1500
"""Images that t-SNE places; the time it takes grows faster than their number, seven seconds on one core for these."""
NEIGHBOURS = 8
_WIDTH, _PLACED = 50, 4096


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
    for start in range(0, len(narrow), _PLACED):
        part = narrow[start : start + _PLACED]
        squared = (part**2).sum(axis=1)[:, None] - 2 * part @ landmarks.T + (landmarks**2).sum(axis=1)[None]
        chosen = np.argpartition(squared, count - 1, axis=1)[:, :count]
        apart = np.maximum(np.take_along_axis(squared, chosen, axis=1), 1e-9)
        weights = 1 / apart
        points[start : start + _PLACED] = (
            np.einsum("nk,nkd->nd", weights, placed[chosen]) / weights.sum(axis=1)[:, None]
        )
    return points
