"""How much of what speaks for the answer is still there when only the outside of the rectangle is left."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from rsam_app.geometry.types import Floats, Integers


def outside_evidence(logits: Floats, inside: Floats, outside: Floats) -> Floats:
    """How much the outside of the rectangle speaks for the predicted class, beside the inside: `(N,)` in [0, 1].

    p_out / (p_in + p_out), with p_in and p_out the predicted class's probability when the classifier pools features
    inside the soft mask only, or outside only; all three arguments are logits `(N, C)`. 0: what was seen inside is all
    that speaks for the class; 0.5: outside speaks as much; 1: the rectangle misses what the model decided on. NaN
    without attention. Use it to find answers that were not taken from the rectangle, a background shortcut above all;
    `outside_activation` says where on the map the evidence is, and finds rectangles beside the object better. (ours)
    """
    rows, predicted = np.arange(len(logits)), logits.argmax(axis=1)
    p_in = softmax(inside.astype(np.float64), axis=1)[rows, predicted]
    p_out = softmax(outside.astype(np.float64), axis=1)[rows, predicted]
    return np.asarray(p_out / (p_in + p_out))


def outside_correct(outside: Floats, labels: Integers) -> Floats:
    """Whether the label `(N,)`, a column index, is named from outside the rectangle alone: `(N,)`, 0 no, 1 yes.

    `outside` are the logits `(N, C)` of that. NaN without attention, and for the label -1: there is none.
    """
    named = (outside.argmax(axis=1) == labels).astype(np.float64)
    return np.where(np.isnan(outside).any(axis=1) | (labels < 0), np.nan, named)


def background_shortcut(correct: Floats, labels: Integers) -> Floats:
    """Of each image's class, the outside-only accuracy: `(N,)` in [0, 1], the mean of `outside_correct` over its label.

    0: the class cannot be told without its object; 1: it always can, so its background gives it away. NaN for the label
    -1. A score of classes, not of images: use it to find the class to photograph elsewhere. Rank by it: a feature map's
    cells see past the rectangle, so some of the object is always outside. (after the outside-only accuracy of METRICS;
    ours)
    """
    known = np.isfinite(correct)
    right = np.bincount(labels[known], weights=correct[known], minlength=int(labels.max(initial=0)) + 1)
    images = np.bincount(labels[known], minlength=len(right))
    with np.errstate(invalid="ignore"):
        share = right / images
    return np.where(labels < 0, np.nan, share[np.maximum(labels, 0)])
