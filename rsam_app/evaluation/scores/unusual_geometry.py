"""How unusual a rectangle is among those of training images with the same predicted class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from rsam_app.geometry.types import Floats, Integers

DIMENSIONS = 5
MIN_RECTANGLES = 50
"""Rectangles that a class needs for a scatter of its own, and that all classes together need for a score."""
PRIOR_WEIGHT = 10.0
"""Weight of the median of all classes in the location of one, in rectangles."""
FLOOR = 0.02
"""Standard deviation, in the units of `coordinates`, added to every scatter, so that a tiny deviation is not unusual if
all rectangles are equal."""
MAX_RECTANGLES = 20_000
"""Rectangles used for the fit; more would only take longer."""


def coordinates(rectangles: Floats, sizes: Floats) -> Floats:
    """Rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)` as points `(N, 5)` with meaningful distances.

    The centre relative to the image, and the matrix logarithm of Q diag(width, height) Qᵀ (Q the rotation) in units of
    √(image area), which is (log w + log h)/2 · I + (log w - log h)/2 · [[cos 2θ, sin 2θ], [sin 2θ, -cos 2θ]]: the three
    coefficients. They are continuous when the angle passes ±π/2 or width and height are exchanged, and the angle counts
    little if width ≈ height. (ours)
    """
    unit = np.sqrt(sizes.prod(axis=1))
    along, across = (np.log(np.maximum(rectangles[:, i] / unit, 1e-4)) for i in (2, 3))
    stretch, twice = (along - across) / 2, 2 * rectangles[:, 4]
    shape = [(along + across) / 2, stretch * np.cos(twice), stretch * np.sin(twice)]
    return np.column_stack([rectangles[:, :2] / sizes, *shape])


@dataclass(frozen=True)
class RectangleHabits:
    """Usual rectangles of each class: `centres` `(C, 5)` and `precisions` `(C, 5, 5)` of `coordinates`."""

    centres: Floats
    precisions: Floats

    def unusual_geometry(self, rectangles: Floats, sizes: Floats, predicted: Integers) -> Floats:
        """How unusual rectangles `(N, 5)` in images of `sizes` `(N, 2)` are for their predicted class `(N,)`: `(N,)`.

        In [0, 1]: the share of a normal distribution nearer to the class's centre, by the robust Mahalanobis distance.
        0: as usual; .95: one of twenty is as far out; 1: far from all. NaN without a rectangle. Use it if photographs
        are framed alike (a conveyor belt, passport pictures); if objects can be anywhere and of any size, `instability`
        is more informative. For rectangles that are useless for any class see `degenerate`.
        """
        scores = np.full(len(rectangles), np.nan)
        known = np.isfinite(rectangles).all(axis=1)
        classes = predicted[known]
        offsets = coordinates(rectangles[known], sizes[known]) - self.centres[classes]
        squared = np.einsum("ni,nij,nj->n", offsets, self.precisions[classes], offsets)
        scores[known] = chi2.cdf(squared, DIMENSIONS)
        return scores


def fit_habits(
    rectangles: Floats, sizes: Floats, predicted: Integers, classes: int, seed: int = 0
) -> RectangleHabits | None:
    """Fit the habits of a model from rectangles `(N, 5)` in training images of `sizes` `(N, 2)` and their predicted
    classes `(N,)` below `classes`; None with fewer than `MIN_RECTANGLES` rectangles.

    A class's centre is its median, shrunk towards that of all. Its scatter is the minimum covariance determinant's
    (Rousseeuw & Van Driessen 1999, by scikit-learn), shrunk towards the pooled scatter about the centres; with fewer
    than `MIN_RECTANGLES` rectangles it is the pooled one.
    """
    known = np.flatnonzero(np.isfinite(rectangles).all(axis=1))
    if len(known) < MIN_RECTANGLES:
        return None
    if len(known) > MAX_RECTANGLES:
        known = np.sort(np.random.default_rng(seed).permutation(known)[:MAX_RECTANGLES])
    points, assigned = coordinates(rectangles[known], sizes[known]), predicted[known]
    overall = np.median(points, axis=0)
    members = [np.flatnonzero(assigned == c) for c in range(classes)]
    centres = np.stack([_shrunk_median(overall, points[rows]) for rows in members])
    offsets = points - centres[assigned]
    pooled = _scatter(offsets, seed)
    precisions = np.stack([np.linalg.inv(_class_scatter(offsets[rows], pooled, seed)) for rows in members])
    return RectangleHabits(centres, precisions)


def _shrunk_median(overall: Floats, points: Floats) -> Floats:
    if not len(points):
        return overall
    return np.asarray((len(points) * np.median(points, axis=0) + PRIOR_WEIGHT * overall) / (len(points) + PRIOR_WEIGHT))


def _class_scatter(offsets: Floats, pooled: Floats, seed: int) -> Floats:
    if len(offsets) < MIN_RECTANGLES:
        return pooled
    own = len(offsets) / (len(offsets) + MIN_RECTANGLES)
    return np.asarray(own * _scatter(offsets, seed) + (1 - own) * pooled)


def _scatter(offsets: Floats, seed: int) -> Floats:
    """The robust covariance `(5, 5)` of points `(N, 5)` about 0, never singular."""
    from sklearn.covariance import MinCovDet

    # Rectangles that are all upright, or all alike, have no scatter in some direction, which the estimator refuses.
    jitter = np.random.default_rng(seed).normal(0, FLOOR / 10, offsets.shape)
    fitted = MinCovDet(assume_centered=True, random_state=seed).fit(offsets + jitter)
    return np.asarray(fitted.covariance_ + FLOOR**2 * np.eye(offsets.shape[1]))
