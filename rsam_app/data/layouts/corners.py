"""Boxes given by the first and the last pixel they include, as MATLAB and Pascal VOC count: from 1."""

from __future__ import annotations

import math

from rsam_app.data.records import Box


def inclusive_box(xmin: float, ymin: float, xmax: float, ymax: float) -> Box:
    """Pixels `xmin … xmax` by `ymin … ymax`, counted from 1, the last included, as continuous edges.

    Pixel 1 lies between the edges 0 and 1, so the box covers `xmin - 1 … xmax`. Raises `ValueError` where it is empty
    or not finite.
    """
    if not (math.isfinite(xmin + ymin + xmax + ymax) and xmax >= xmin and ymax >= ymin):
        raise ValueError(f"box from {xmin}, {ymin} to {xmax}, {ymax}")
    return xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1
