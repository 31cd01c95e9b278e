"""The figures on `val` that the best epoch is chosen by."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax


def validation_figures(logits: np.ndarray, labels: np.ndarray, prefix: str = "val") -> dict[str, float]:
    """Top-1, macro top-1 (fractions) and NLL in nats of logits `(N, classes)` against labels `(N,)`, N > 0, each key
    after `prefix`."""
    log_probability = log_softmax(logits.astype(np.float64), axis=1)
    right = logits.argmax(axis=1) == labels
    return {
        f"{prefix}_top1": float(right.mean()),
        f"{prefix}_macro_top1": float(np.mean([right[labels == c].mean() for c in np.unique(labels)])),
        f"{prefix}_nll": float(-log_probability[np.arange(len(labels)), labels].mean()),
    }
