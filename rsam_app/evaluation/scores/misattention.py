"""One number for how likely the model looked at the wrong place, from scores that need no truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rsam_app.geometry.types import Floats

WEIGHTS = {"outside_activation": 0.7, "instability": 1.0, "doubt": 0.2}
"""Of each part in the mean; `doubt` is 1 - confidence.

Chosen among round ones on three sets of rectangles: of the demo's test images (a network from scratch), and of the test
and the training images of 50 birds of CUB (one frozen network; 27 and 21 rectangles off the bird). `instability` finds
rectangles off the object best on the birds, `outside_activation` also what the demo's shortcut misled: half of it loses
these, all of it .02 of AUROC on the birds. A little doubt helps on the birds' test images and costs .02 on the demo;
more of it makes the score one of uncertainty. `outside_evidence` and `unusual_geometry` made it worse for rectangles
off the object, and so did maxima, products and scaling each part by its spread."""


def misattention(scores: Mapping[str, Floats], confidence: Floats) -> Floats:
    """How likely the model looked at the wrong place, from `scores` and its `confidence`, `(N,)` each: in [0, 1].

    The weighted mean of `outside_activation`, `instability` and 1 - confidence, each in [0, 1], so that the number of
    an image does not depend on which other images there are. 0: the rectangle holds what speaks for the answer, comes
    along when the image moves, and the model is sure; 1: nothing of it. No probability: rank by it. A part that is
    missing leaves the others; NaN where there is no rectangle.

    Sort by it first; ask its parts why, `outside_evidence` for background shortcuts, and `misattention_calibrated` as
    soon as a person has given verdicts. (ours; `benchmarks/misattention.py` measures it)
    """
    parts = np.stack([scores["outside_activation"], scores["instability"], 1 - confidence])
    weights = np.array(list(WEIGHTS.values()))[:, None] * np.isfinite(parts)
    placed = np.isfinite(parts[:2]).any(axis=0)
    mean = (np.nan_to_num(parts) * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-9)
    return np.where(placed, mean, np.nan)
