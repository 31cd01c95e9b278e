"""How far a rectangle is off the true box or mask, where the data has one."""

from __future__ import annotations

from collections.abc import Sequence

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.geometry.types import Floats


def off_object(rectangles: Floats, records: Sequence[Record]) -> Floats:
    """1 - overlap of rectangles `(N, 5)` in pixels with the truth of their records: `(N,)` in [0, 1].

    0: the rectangle is the object's; 1: it does not touch it. NaN where a record has neither box nor mask, or there is
    no rectangle. The overlap is the one behind `mean_iou`: with a mask the IoU of the rectangle's own pixels, because a
    mask follows a turned object; with upright boxes the IoU of the rectangle's upright box with the best of them,
    because they would punish a rectangle for turning with its object. Where there is truth nothing else need be asked;
    the other scores are for the photographs that have none. Raises `UserError` where a mask cannot be read.
    """
    return 1 - rectangle_ious(rectangles, records)
