"""Figures that count every class alike: macro F1 and macro AUROC."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm, rankdata

from rsam_app.geometry.types import Floats, Integers


def macro_f1(labels: Integers, predicted: Integers, classes: int) -> float:
    """Mean F1 in [0, 1] over the classes that have images or are predicted, of class indices `(N,)`: scikit-learn's
    `f1_score(average="macro")`."""
    hits, sizes = _hits_and_sizes(labels, predicted, classes)
    shown = sizes > 0
    return float((2 * hits[shown] / sizes[shown]).mean())


def balanced_accuracy(labels: Integers, predicted: Integers, classes: int) -> float:
    """Mean recall in [0, 1] over the classes that have images: scikit-learn's `balanced_accuracy_score`."""
    n = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    return float((hits[n > 0] / n[n > 0]).mean())


def macro_auroc(probabilities: Floats, labels: Integers) -> tuple[float, tuple[float, float]]:
    """Mean one-vs-rest AUROC of probabilities `(N, C)`, and its 95 % interval, both in [0, 1].

    Averaged over the classes that some images have and others have not: scikit-learn's
    `roc_auc_score(multi_class="ovr")` if all are. NaN without such a class. The interval is DeLong's (Biometrics 1988):
    each image's share in the mean, over all classes at once, gives the variance.
    """
    n = len(labels)
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    compared = np.flatnonzero((counts > 0) & (counts < n))
    if not len(compared):
        return math.nan, (math.nan, math.nan)
    areas, influence = [], np.zeros(n)
    for c in compared:
        positive = labels == c
        beaten = _placements(probabilities[:, c], positive)
        areas.append(area := beaten[positive].mean())
        influence += (beaten - area) * np.where(positive, n / counts[c], n / (n - counts[c]))
    mean = float(np.mean(areas))
    reach = float(norm.ppf(0.975) * influence.std() / len(compared) / math.sqrt(n))
    return mean, (max(0.0, mean - reach), min(1.0, mean + reach))


def _hits_and_sizes(labels: Integers, predicted: Integers, classes: int) -> tuple[Integers, Integers]:
    """By class the correct predictions, and the images of the class plus those predicted to be."""
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    return hits, np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)


def _placements(scores: Floats, positive: np.ndarray) -> Floats:
    """For each positive the share of negatives below it, for each negative the share of positives above; ties half."""
    overall, own = rankdata(scores), np.empty(len(scores))
    for kind in (positive, ~positive):
        own[kind] = rankdata(scores[kind])
    below = (overall - own) / np.where(positive, (~positive).sum(), positive.sum())
    return np.asarray(np.where(positive, below, 1 - below))
