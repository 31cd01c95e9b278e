"""How unusual a rectangle is among those of the training images that were predicted to be of the same class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from rsam_app.geometry.types import Floats, Integers

DIMENSIONS = 5
ENOUGH = 50
"""Rectangles of a class from which on it has a scatter of its own, and of all classes below which nothing is said."""
LENT = 10.0
"""So many rectangles of all classes count towards the location of one."""
FLOOR = 0.02
"""Standard deviation, in the units of `coordinates`, that is added to every scatter: a model that always gives the same
rectangle must not make a hair's breadth unusual."""
MOST = 20_000
"""Rectangles that are learned from; more would change nothing but the time."""


def coordinates(rectangles: Floats, sizes: Floats) -> Floats:
    """Rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)` as points `(N, 5)` in which distances make sense.

    The centre relative to the image, and the matrix logarithm of Q diag(width, height) Qᵀ (Q the rotation) in units of
    √(image area), which is (log w + log h)/2 · I + (log w - log h)/2 · [[cos 2θ, sin 2θ], [sin 2θ, -cos 2θ]]: the three
    numbers before these matrices' entries. So nothing jumps where the angle passes ±π/2 or where width and height
    change names, and the angle counts as little as it means where width ≈ height. (ours)
    """
    unit = np.sqrt(sizes.prod(axis=1))
    along, across = (np.log(np.maximum(rectangles[:, i] / unit, 1e-4)) for i in (2, 3))
    stretch, twice = (along - across) / 2, 2 * rectangles[:, 4]
    shape = [(along + across) / 2, stretch * np.cos(twice), stretch * np.sin(twice)]
    return np.column_stack([rectangles[:, :2] / sizes, *shape])


@dataclass(frozen=True)
class RectangleHabits:
    """Where rectangles of each class usually are: `centres` `(C, 5)` and `precisions` `(C, 5, 5)` of `coordinates`."""

    centres: Floats
    precisions: Floats

    def unusual_geometry(self, rectangles: Floats, sizes: Floats, predicted: Integers) -> Floats:
        """How unusual rectangles `(N, 5)` in images of `sizes` `(N, 2)` are for their predicted class `(N,)`, `(N,)`.

        In [0, 1]: the share of a normal distribution that lies nearer to the class's centre, by the robust Mahalanobis
        distance. 0: as usual; .95: one of twenty is as far out; 1: nowhere near. NaN without a rectangle. Use it where
        photographs are framed alike (a conveyor belt, passport pictures); where objects may be anywhere and of any
        size, `instability` says more. Of a rectangle that is no use for any class, see `degenerate`.
        """
        found = np.full(len(rectangles), np.nan)
        known = np.isfinite(rectangles).all(axis=1)
        of = predicted[known]
        apart = coordinates(rectangles[known], sizes[known]) - self.centres[of]
        squared = np.einsum("ni,nij,nj->n", apart, self.precisions[of], apart)
        found[known] = chi2.cdf(squared, DIMENSIONS)
        return found


def learn_habits(
    rectangles: Floats, sizes: Floats, predicted: Integers, classes: int, seed: int = 0
) -> RectangleHabits | None:
    """The habits of a model whose rectangles `(N, 5)` in training images of `sizes` `(N, 2)` are these, with predicted
    classes `(N,)` below `classes`; None with fewer than `ENOUGH` rectangles.

    A class's centre is its median drawn towards that of all; its scatter the minimum covariance determinant's
    (Rousseeuw & Van Driessen 1999, by scikit-learn) where it has `ENOUGH` rectangles, drawn towards the pooled scatter
    about the centres by as much as it has few, and the pooled one where it has fewer.
    """
    known = np.flatnonzero(np.isfinite(rectangles).all(axis=1))
    if len(known) < ENOUGH:
        return None
    if len(known) > MOST:
        known = np.sort(np.random.default_rng(seed).permutation(known)[:MOST])
    points, of = coordinates(rectangles[known], sizes[known]), predicted[known]
    overall = np.median(points, axis=0)
    members = [np.flatnonzero(of == c) for c in range(classes)]
    centres = np.stack([_drawn_to(overall, points[rows]) for rows in members])
    apart = points - centres[of]
    pooled = _scatter(apart, seed)
    precisions = np.stack([np.linalg.inv(_of_class(apart[rows], pooled, seed)) for rows in members])
    return RectangleHabits(centres, precisions)


def _drawn_to(overall: Floats, points: Floats) -> Floats:
    if not len(points):
        return overall
    return np.asarray((len(points) * np.median(points, axis=0) + LENT * overall) / (len(points) + LENT))


def _of_class(apart: Floats, pooled: Floats, seed: int) -> Floats:
    if len(apart) < ENOUGH:
        return pooled
    own = len(apart) / (len(apart) + ENOUGH)
    return np.asarray(own * _scatter(apart, seed) + (1 - own) * pooled)


def _scatter(apart: Floats, seed: int) -> Floats:
    """The robust covariance `(5, 5)` of points `(N, 5)` about 0, never singular."""
    from sklearn.covariance import MinCovDet

    # Rectangles that are all upright, or all alike, have no scatter in some direction, which the estimator refuses.
    jitter = np.random.default_rng(seed).normal(0, FLOOR / 10, apart.shape)
    fitted = MinCovDet(assume_centered=True, random_state=seed).fit(apart + jitter)
    return np.asarray(fitted.covariance_ + FLOOR**2 * np.eye(apart.shape[1]))
