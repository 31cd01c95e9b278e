"""Calibrated probabilities: temperature scaling as a pure function (Guo et al., ICML 2017, arXiv 1706.04599)."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from rsam_app.geometry.types import Floats


def calibrated_probabilities(logits: Floats, temperature: float | None) -> Floats:
    """Probabilities `(…, C)` float64 of logits `(…, C)`: softmax(logits / temperature); each row sums to 1.

    `temperature` is a model's `temperature`, > 0: above 1 the model was overconfident. None, for a model without a
    fitted one, gives the plain softmax. The order of the classes never changes. Raises `ValueError` for a temperature
    that is not positive.
    """
    if temperature is not None and not temperature > 0:
        raise ValueError(f"a temperature is positive, not {temperature}")
    return np.asarray(softmax(np.asarray(logits, dtype=np.float64) / (temperature or 1.0), axis=-1))
