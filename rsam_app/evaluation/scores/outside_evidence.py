"""Evidence for the prediction that remains without the inside of the rectangle."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from rsam_app.geometry.types import Floats, Integers


def outside_evidence(logits: Floats, inside: Floats, outside: Floats) -> Floats:
    """Evidence for the predicted class outside the rectangle, compared with the inside: `(N,)` in [0, 1].

    p_out / (p_in + p_out), with p_in and p_out the predicted class's probability if the classifier pools features only
    inside, or only outside, the soft mask; all three arguments are logits `(N, C)`. 0: all evidence is inside; 0.5: as
    much is outside; 1: the rectangle misses the evidence. NaN without attention. Use it to find predictions that do not
    come from the rectangle, above all background shortcuts; `outside_activation` locates the evidence on the map, and
    is better at finding rectangles beside the object. (ours)
    """
    rows, predicted = np.arange(len(logits)), logits.argmax(axis=1)
    p_in = softmax(inside.astype(np.float64), axis=1)[rows, predicted]
    p_out = softmax(outside.astype(np.float64), axis=1)[rows, predicted]
    return np.asarray(p_out / (p_in + p_out))


def outside_correct(outside: Floats, labels: Integers) -> Floats:
    """Whether the outside of the rectangle suffices for the label `(N,)`, a column index: `(N,)`, 0 no, 1 yes.

    `outside` are the logits `(N, C)` of the outside alone. NaN without attention, and for the label -1 (none).
    """
    correct = (outside.argmax(axis=1) == labels).astype(np.float64)
    return np.where(np.isnan(outside).any(axis=1) | (labels < 0), np.nan, correct)


def background_shortcut(correct: Floats, labels: Integers) -> Floats:
    """Outside-only accuracy of each image's class: `(N,)` in [0, 1], the mean of `outside_correct` over its label.

    0: the class is never recognised without its object; 1: always, so its background gives it away. NaN for the label
    -1. A score of classes, not of images: use it to find classes to photograph elsewhere. Rank by it: receptive fields
    extend past the rectangle, so part of the object always counts as outside. (ours)
    """
    known = np.isfinite(correct)
    right = np.bincount(labels[known], weights=correct[known], minlength=int(labels.max(initial=0)) + 1)
    images = np.bincount(labels[known], minlength=len(right))
    with np.errstate(invalid="ignore"):
        share = right / images
    return np.where(labels < 0, np.nan, share[np.maximum(labels, 0)])
