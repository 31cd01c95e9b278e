"""Suggestions of `rsam label` in a simulation: would the suggested label have been right?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rsam_app.run.label_features import centred_directions


def suggested_right(points: np.ndarray, labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return for each of the rows in `order` `(L,)` whether its suggestion was right when it was labelled: `(L,)` bool.

    `points` `(N, D)` are the features and `labels` `(N,)` their classes. The suggestion is that of `nearest_centroids`
    on `centred_directions`, as in `rsam label`, from the labels given before, one after the other; until two classes
    have one there is none, which is not right.
    """
    directions = centred_directions(points).astype(np.float32)
    return np.array(list(_right(directions, labels, order)), dtype=bool)


def _right(points: np.ndarray, labels: np.ndarray, order: np.ndarray) -> Iterator[bool]:
    sums = np.zeros((int(labels.max()) + 1, points.shape[1]))
    lengths = np.zeros(len(sums))
    for row in order.tolist():
        known = np.flatnonzero(lengths)
        yield len(known) > 1 and bool(known[(sums[known] @ points[row] / lengths[known]).argmax()] == labels[row])
        sums[labels[row]] += points[row]
        lengths[labels[row]] = np.linalg.norm(sums[labels[row]])
