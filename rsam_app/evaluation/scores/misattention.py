"""Misattention: how likely the model attended to the wrong place, from scores that need no ground truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rsam_app.geometry.types import Floats

WEIGHTS = {"outside_activation": 0.7, "instability": 1.0, "doubt": 0.2}
"""Weight of each part in the mean; `doubt` is 1 - confidence.

Chosen among round numbers on three sets of rectangles: those of the demo's test images (a network from scratch), and of
the test and the training images of 50 birds of CUB (one frozen network; 27 and 21 rectangles off the bird).
`instability` finds rectangles off the object best on the birds; `outside_activation` also finds those misled by the
demo's shortcut: half its weight misses these, full weight costs .02 AUROC on the birds. A little doubt helps on the
birds' test images and costs .02 on the demo; more of it turns the score into one of uncertainty. `outside_evidence` and
`unusual_geometry` made it worse for rectangles off the object, and so did maxima, products and scaling each part by its
spread."""


def misattention(scores: Mapping[str, Floats], confidence: Floats) -> Floats:
    """How likely the model attended to the wrong place, from `scores` and its `confidence`, `(N,)` each: in [0, 1].

    The weighted mean of `outside_activation`, `instability` and 1 - confidence, each in [0, 1], so that an image's
    score does not depend on other images. 0: the rectangle contains the evidence, follows the image, and the model is
    confident; 1: none of that. It is not a probability: rank by it. Missing parts are left out of the mean; NaN without
    a rectangle.

    Sort by it first; its parts show the reason. Use `outside_evidence` for background shortcuts, and
    `misattention_calibrated` once there are verdicts. (ours; `benchmarks/misattention.py` measures it)
    """
    parts = np.stack([scores["outside_activation"], scores["instability"], 1 - confidence])
    weights = np.array(list(WEIGHTS.values()))[:, None] * np.isfinite(parts)
    located = np.isfinite(parts[:2]).any(axis=0)
    mean = (np.nan_to_num(parts) * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-9)
    return np.where(located, mean, np.nan)
