"""How little a rectangle says because it swallows the image, shrinks to nothing, or leaves the image."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from rsam_app.evaluation.metrics.rectangles import LARGE, SMALL
from rsam_app.geometry.overlap import visible_areas
from rsam_app.geometry.types import Floats

STEEPNESS = 2.0
"""Of the slope through one half at METRICS' thresholds, per unit of the visible share's log-odds: a rectangle over .75
of its image has .1, one over .97 has .9."""


def degenerate(rectangles: Floats, sizes: Floats) -> Floats:
    """How degenerate rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)` are: `(N,)` in [0, 1].

    The largest of three: too large (½ where .9 of the image is covered), too small (½ where .02 is), and the share of
    the rectangle that lies off the image. 0: an ordinary size, all of it on the image; 1: the whole image, a point, or
    off the image. NaN without a rectangle. Use it to find a model that has given up pointing; `unusual_geometry` finds
    rectangles that are ordinary as such but odd for their class. (ours)
    """
    known = np.isfinite(rectangles).all(axis=1)
    found = np.full(len(rectangles), np.nan)
    some, frame = rectangles[known], sizes[known]
    visible = visible_areas(some, frame)
    odds = logit(np.clip(visible, 1e-9, 1 - 1e-9))
    large, small = expit(STEEPNESS * (odds - logit(LARGE))), expit(STEEPNESS * (logit(SMALL) - odds))
    own = some[:, 2] * some[:, 3]
    off = 1 - visible * frame.prod(axis=1) / np.maximum(own, 1e-9)
    found[known] = np.clip(np.maximum.reduce([large, small, off]), 0, 1)
    return found
