"""Distance of a rectangle from the true box, if the dataset has boxes or masks."""

from __future__ import annotations

from collections.abc import Sequence

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.geometry.types import Floats


def off_object(rectangles: Floats, records: Sequence[Record]) -> Floats:
    """1 - IoU of rectangles `(N, 5)` in pixels with the ground truth of their records: `(N,)` in [0, 1].

    0: the rectangle is that of the object; 1: it does not touch it. NaN for a record without that truth, or without a
    rectangle. The IoU is that of `mean_iou`: of the rectangle's upright box with the best true box, so that turning
    with the object costs nothing. True boxes are the records' own, or those around their masks: see `truth_kinds`. With
    ground truth no other score is needed; the others are for photographs without. Raises `UserError` if a mask cannot
    be read.
    """
    return 1 - rectangle_ious(rectangles, records)
