"""Accuracy: top-k, macro top-1, per class, per group, and the pairs of classes that are confused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.calibration import negative_log_likelihood
from rsam_app.geometry.types import Floats, Integers


def label_ranks(logits: Floats, labels: Integers) -> Integers:
    """Rank `(N,)` of the true class from 0, by logits `(N, C)` and class indices `(N,)`.

    Of equal logits the earlier class ranks first, as in `argmax`, so rank 0 is exactly `argmax == label`.
    """
    true = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1])[None] < labels[:, None]
    return np.asarray(((logits > true) | ((logits == true) & earlier)).sum(axis=1))


def top_k_accuracy(logits: Floats, labels: Integers, k: int) -> float:
    """Share in [0, 1] of images whose label is among the `k` highest logits; 1 if there are at most `k` classes."""
    return float((label_ranks(logits, labels) < k).mean())


def confusion_matrix(predicted: Integers, labels: Integers, classes: int) -> Integers:
    """Counts `(C, C)`: row the true class, column the predicted one."""
    flat = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def per_class(confusion: Integers) -> tuple[Integers, Floats, Floats]:
    """`n`, `recall` and `precision`, each `(C,)`, from a confusion matrix.

    NaN if undefined: the recall of a class without images, the precision of a class never predicted.
    """
    n, predicted, correct = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)
    with np.errstate(invalid="ignore", divide="ignore"):
        return n, correct / n, correct / predicted


def macro_recall(confusion: Integers) -> float:
    """Macro top-1: the mean recall over the classes that have images. NaN if none has."""
    n, recall, _ = per_class(confusion)
    return float(recall[n > 0].mean()) if (n > 0).any() else math.nan


def confusion_pairs(confusion: Integers, limit: int = 30) -> list[tuple[int, int, int]]:
    """The most frequent mistakes `(true class, predicted class, count)`, most frequent first, at most `limit`."""
    mistakes = confusion - np.diag(np.diagonal(confusion))
    rows, columns = np.nonzero(mistakes)
    counts = mistakes[rows, columns]
    order = np.lexsort((columns, rows, -counts))[:limit]
    return [(int(rows[i]), int(columns[i]), int(counts[i])) for i in order]


def wilson_interval(correct: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval (at the default `z`) of a share `correct / n`, in [0, 1].

    Wilson's score interval (JASA 1927): unlike p ± z·se it stays inside [0, 1] and holds for few images.
    """
    share = correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def worst_group(right: NDArray[np.bool_], records: Sequence[Record]) -> dict[str, Any]:
    """Accuracy per label × group of records whose `group` is known, e.g. their background.

    `right` `(N,)`: which predictions are correct. `worst` is the lowest accuracy, of `worst_label` with `worst_group`,
    on `worst_n` images (with few images a low one is likely); `mean` is the mean over groups, whatever their sizes;
    `gap` is mean - worst, 0 if all groups are equal. `by_group` lists all groups, worst first. Raises `ValueError` if
    no record has a group.
    """
    members: dict[tuple[str, str], list[bool]] = {}
    for hit, record in zip(right, records, strict=True):
        if record.group:
            members.setdefault((record.label, record.group), []).append(bool(hit))
    if not members:
        raise ValueError("no record has a group")
    ranked = sorted((float(np.mean(hits)), -len(hits), *names) for names, hits in members.items())
    top1, n, label, group = ranked[0]
    mean = float(np.mean([entry[0] for entry in ranked]))
    return {
        "n": sum(map(len, members.values())),
        "mean": mean,
        "worst": top1,
        "gap": mean - top1,
        "worst_label": label,
        "worst_group": group,
        "worst_n": -n,
        "by_group": [{"label": label, "group": group, "n": -n, "top1": top1} for top1, n, label, group in ranked],
    }


def validation_figures(logits: np.ndarray, labels: np.ndarray, prefix: str = "val") -> dict[str, float]:
    """Top-1, macro top-1 (fractions) and NLL in nats of logits `(N, C)` against labels `(N,)`, N > 0, under keys that
    begin with `prefix`."""
    predicted = logits.argmax(axis=1)
    return {
        f"{prefix}_top1": float((predicted == labels).mean()),
        f"{prefix}_macro_top1": macro_recall(confusion_matrix(predicted, labels, logits.shape[1])),
        f"{prefix}_nll": negative_log_likelihood(logits, labels),
    }
