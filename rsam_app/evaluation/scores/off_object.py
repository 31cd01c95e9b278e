"""Distance of a rectangle from the true box or mask, if the dataset has one."""

from __future__ import annotations

from collections.abc import Sequence

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.geometry.types import Floats


def off_object(rectangles: Floats, records: Sequence[Record]) -> Floats:
    """1 - IoU of rectangles `(N, 5)` in pixels with the ground truth of their records: `(N,)` in [0, 1].

    0: the rectangle is that of the object; 1: it does not touch it. NaN if a record has neither box nor mask, or there
    is no rectangle. The IoU is that of `mean_iou`: with a mask that of the rectangle's pixels, because a mask follows a
    turned object; with upright boxes that of the rectangle's upright box with the best of them, so that turning with
    the object costs nothing. With ground truth no other score is needed; the others are for photographs without. Raises
    `UserError` if a mask cannot be read.
    """
    return 1 - rectangle_ious(rectangles, records)
