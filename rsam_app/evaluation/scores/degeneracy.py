"""Degeneracy of a rectangle: it covers the whole image, is tiny, or lies off the image."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from rsam_app.evaluation.metrics.rectangles import LARGE, SMALL
from rsam_app.geometry.overlap import visible_areas
from rsam_app.geometry.types import Floats

STEEPNESS = 2.0
"""Slope of the score, per unit of the visible share's log-odds, at the thresholds `LARGE` and `SMALL`, which score ½; a
rectangle over .75 of its image scores .1, one over .97 scores .9."""


def degenerate(rectangles: Floats, sizes: Floats) -> Floats:
    """Degeneracy `(N,)` in [0, 1] of rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)`.

    The largest of three: too large (½ if .9 of the image is covered), too small (½ if .02 is), and the share of the
    rectangle off the image. 0: an ordinary size, entirely on the image; 1: the whole image, a point, or off the image.
    NaN without a rectangle. Use it to detect a model whose attention has collapsed; `unusual_geometry` finds rectangles
    that are odd only for their class. (ours)
    """
    known = np.isfinite(rectangles).all(axis=1)
    scores = np.full(len(rectangles), np.nan)
    located, frame = rectangles[known], sizes[known]
    visible = visible_areas(located, frame)
    odds = logit(np.clip(visible, 1e-9, 1 - 1e-9))
    large, small = expit(STEEPNESS * (odds - logit(LARGE))), expit(STEEPNESS * (logit(SMALL) - odds))
    own = located[:, 2] * located[:, 3]
    off = 1 - visible * frame.prod(axis=1) / np.maximum(own, 1e-9)
    scores[known] = np.clip(np.maximum.reduce([large, small, off]), 0, 1)
    return scores
