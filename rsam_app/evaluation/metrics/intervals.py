"""95 % intervals of figures that are no plain share: the percentile bootstrap over images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from rsam_app.geometry.types import Integers

RESAMPLES, NUMBERS_AT_ONCE = 1000, 2_000_000


def bootstrap_interval(figure: Callable[[Integers], float], n: int) -> tuple[float, float]:
    """The 95 % interval of `figure`, a function of row numbers among `n` images, over resampled images.

    The same every time; NaN for a single image.
    """
    if n < 2:
        return float("nan"), float("nan")
    found = stats.bootstrap(
        (np.arange(n),),
        figure,
        n_resamples=RESAMPLES,
        batch=max(1, NUMBERS_AT_ONCE // n),
        vectorized=False,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
