"""What is believed about the labels of training images, from what a run kept while it trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.special import softmax

from rsam_app.run_folder import RunFolder

LEARNED = 0.4
"""Of the weight, in logarithms, that what the model said while it learned gets beside what was held out. On birds with
a frozen backbone and a tenth of the labels wrong, average precision for 0, .2, .4, .6 and 1 of it: .931, .933, .929,
.910, .637 where the wrong labels are any, .585, .630, .653, .623, .444 where they are siblings (one run each)."""
LEAST = 1e-7


def training_belief(run: RunFolder, images: int) -> np.ndarray | None:
    """Class probabilities `(N, C)` float32 of training images, to judge their labels by; None where nothing is kept.

    The weighted geometric mean of two witnesses: classifiers on pretrained features that did not see the image's label,
    and the model itself while it learned, averaged over the epochs. The first knows nothing of the label but is the
    weaker classifier; the second, begun with a classifier fitted to all labels, believes the wrong ones too, siblings
    least. One alone where the other is not kept; rows that one of them lacks (NaN) are NaN. (ours)
    """
    held_out, learned = _kept(run.held_out_probabilities, images), _kept(run.learned_probabilities, images)
    if held_out is None or learned is None:
        return learned if held_out is None else held_out
    logs = LEARNED * np.log(np.maximum(learned, LEAST)) + (1 - LEARNED) * np.log(np.maximum(held_out, LEAST))
    belief: np.ndarray = softmax(logs, axis=1)
    return belief


def _kept(path: Path, images: int) -> np.ndarray | None:
    found = np.load(path).astype(np.float32) if path.exists() else None
    return found if found is not None and len(found) == images else None
