"""Nearest neighbours of embeddings, and their map in the plane, for any number of images."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import directions, finite_rows
from rsam_app.system.progress import Progress

BLOCK = 8192
"""Rows that are computed at once."""
FIT_ROWS = 5000
"""Rows that principal components are fitted on."""
SEARCH_WIDTH = 64
"""Principal components used to search for neighbours. The cosine of the candidates is exact."""
CANDIDATES = 4
MAP_WIDTH = 50
"""Principal components used for the map."""
LANDMARKS = 1500
"""Images that t-SNE places. Its time grows faster than their number: seven seconds on one core for these."""
MAP_NEIGHBOURS = 8
"""Landmarks between which each other image is placed."""


def nearest_cosines(embeddings: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """Return for each of `embeddings` `(N, D)` the cosine with its nearest neighbour, `(N,)`; NaN for rows that are
    zero or not finite, and for a single row.

    Series of shots and scenes that were photographed twice have a high cosine, and so have images that the network
    cannot tell apart. No threshold holds for all networks. Above 20,000 images a few in a hundred get a neighbour that
    is not quite the nearest (`near_duplicates.nearest_neighbours`). Needs 1.2 KiB an image beside the embeddings.
    """
    from rsam_app.data.near_duplicates.nearest_neighbours import Neighbours  # imports torch

    nearest = np.full(len(embeddings), np.nan)
    usable = finite_rows(embeddings)
    usable = usable[_nonzero(embeddings, usable)]
    if len(usable) < 2:
        return nearest
    components = principal_components(embeddings, usable, SEARCH_WIDTH)
    candidates, _ = Neighbours(components).search(components, CANDIDATES, np.arange(len(usable)), progress)
    for begin in range(0, len(usable), BLOCK):
        part = slice(begin, begin + BLOCK)
        rows = directions(embeddings[usable[part]])
        others = directions(embeddings[usable[candidates[part].ravel()]]).reshape(*candidates[part].shape, -1)
        cosines = np.einsum("rd,rkd->rk", rows, others)
        nearest[usable[part]] = np.where(candidates[part] >= 0, cosines, -1.0).max(axis=1)
    return nearest


def map_embeddings(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return points `(N, 2)` of embeddings `(N, D)`, similar images close together. Deterministic for a seed.

    t-SNE (van der Maaten & Hinton 2008, scikit-learn) of the first 50 principal components. Of more than 1,500 images
    it places a random 1,500, and each other image is placed between its nearest ones among these, so the time grows
    linearly (landmarks after section 5 of the paper, simplified). Rows that are not finite lie at the origin.
    """
    points = np.zeros((len(embeddings), 2))
    usable = finite_rows(embeddings)
    if len(usable) < 4:
        return points
    components = principal_components(embeddings, usable, min(MAP_WIDTH, len(usable) - 1))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(usable))[:LANDMARKS])
    landmarks = components[chosen]
    landmark_points = _tsne(landmarks, seed)
    points[usable] = _interpolated(components, landmarks, landmark_points)
    points[usable[chosen]] = landmark_points
    return points


def principal_components(embeddings: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
    """Return the first `width` principal components `(R, min(width, D))` float32 of the directions of some rows of
    `embeddings` `(N, D)`, fitted on a random 5,000 of them."""
    sample = directions(embeddings[np.random.default_rng(0).permutation(rows)[:FIT_ROWS]]).astype(np.float64)
    mean = sample.mean(axis=0)
    centred = sample - mean
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :width].astype(np.float32)
    components = np.empty((len(rows), axes.shape[1]), dtype=np.float32)
    for begin in range(0, len(rows), BLOCK):
        part = slice(begin, begin + BLOCK)
        components[part] = (directions(embeddings[rows[part]]) - mean.astype(np.float32)) @ axes
    return components


def _nonzero(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which of some rows are not all zeros: `(R,)` bool."""
    blocks = [embeddings[rows[begin : begin + BLOCK]].any(axis=1) for begin in range(0, len(rows), BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=bool)


def _tsne(components: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(components) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, max_iter=500)
    points: np.ndarray = tsne.fit_transform(components)
    return points


def _interpolated(components: np.ndarray, landmarks: np.ndarray, landmark_points: np.ndarray) -> np.ndarray:
    """Return means of the points of the nearest landmarks, weighted by inverse squared distance."""
    count = min(MAP_NEIGHBOURS, len(landmarks))
    points = np.empty((len(components), 2))
    for begin in range(0, len(components), BLOCK // 2):
        part = components[begin : begin + BLOCK // 2]
        squared = (part**2).sum(axis=1)[:, None] - 2 * part @ landmarks.T + (landmarks**2).sum(axis=1)[None]
        nearest = np.argpartition(squared, count - 1, axis=1)[:, :count]
        weights = 1 / np.maximum(np.take_along_axis(squared, nearest, axis=1), 1e-9)
        weighted = np.einsum("nk,nkd->nd", weights, landmark_points[nearest])
        points[begin : begin + BLOCK // 2] = weighted / weights.sum(axis=1)[:, None]
    return points
