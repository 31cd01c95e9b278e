"""What a model is worth on spoiled images, relative to clean ones, and whether its rectangle stays where it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from rsam_app.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from rsam_app.evaluation.looks import Looks, Observer
from rsam_app.evaluation.overlap import rotated_iou
from rsam_app.evaluation.subset import Subset


def corruption_robustness(observer: Observer, subset: Subset, clean: Looks, seed: int) -> dict[str, Any]:
    """Accuracy and rectangle stability under every corruption of `CORRUPTIONS` at every severity of `SEVERITIES`.

    `top1` is the mean accuracy over corruptions and severities, `relative` that over `clean_top1` (null where that is
    0). With attention, `rotated_iou` is the mean rotated IoU of the rectangle with the one of the clean image.
    `by_corruption` holds both per corruption, and per severity as lists in the order of `severities`.
    """
    has_rectangles = not np.isnan(clean.rectangles).any()
    by_corruption: dict[str, dict[str, Any]] = {}
    for name in CORRUPTIONS:
        looks = [_corrupted(observer, subset, name, severity, seed) for severity in SEVERITIES]
        top1 = [seen.accuracy(subset.labels) for seen in looks]
        by_corruption[name] = {"top1": float(np.mean(top1)), "top1_by_severity": top1}
        if has_rectangles:
            ious = [float(rotated_iou(clean.rectangles, seen.rectangles).mean()) for seen in looks]
            by_corruption[name] |= {"rotated_iou": float(np.mean(ious)), "rotated_iou_by_severity": ious}
    mean = {
        key: float(np.mean([entry[key] for entry in by_corruption.values()]))
        for key in ("top1", *(["rotated_iou"] if has_rectangles else []))
    }
    clean_top1 = clean.accuracy(subset.labels)
    return {
        "n": len(subset),
        "clean_top1": clean_top1,
        **mean,
        "relative": mean["top1"] / clean_top1 if clean_top1 else None,
        "severities": list(SEVERITIES),
        "by_corruption": by_corruption,
    }


def _corrupted(observer: Observer, subset: Subset, name: str, severity: int, seed: int) -> Looks:
    def view(rows: slice) -> Tensor:
        pairs = zip(subset.images[rows], subset.records[rows], strict=True)
        return observer.normalised(np.stack([corrupt(i, name, severity, seed, r.id) for i, r in pairs]))

    return observer.look(len(subset), view)
