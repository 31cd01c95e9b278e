"""One number for how likely the model looked at the wrong place, from scores that need no truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rsam_app.evaluation.accuracy import Floats

PARTS = ("outside_activation", "instability", "outside_evidence")


def misattention(scores: Mapping[str, Floats]) -> Floats:
    """placeholder"""
    present = np.stack([scores[name] for name in PARTS])
    return np.asarray(np.nanmean(present, axis=0))
