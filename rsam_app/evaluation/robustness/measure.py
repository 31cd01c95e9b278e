"""All that takes many looks at each image: stability, use, background gap and corruptions, on a part of a split."""

from __future__ import annotations

from typing import Any

import numpy as np

from rsam_app.data.records import Dataset
from rsam_app.evaluation.inference.grad_cam import grad_cam_maps
from rsam_app.evaluation.inference.observer import Observer
from rsam_app.evaluation.robustness.background import background_gap, pair_backgrounds
from rsam_app.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corruption_robustness
from rsam_app.evaluation.robustness.counterfactual import FILLS, use
from rsam_app.evaluation.robustness.map_localization import map_localization
from rsam_app.evaluation.robustness.stability import TRANSFORMS, stability
from rsam_app.evaluation.robustness.subset import Subset, load_subset

SECTIONS = ("stability", "use", "background_gap", "corruptions")
PASSES = 1 + len(TRANSFORMS) + 4 * len(FILLS) + 3 + len(CORRUPTIONS) * len(SEVERITIES)
"""Looks at each image where everything can be measured."""


def measure_robustness(
    observer: Observer, dataset: Dataset, split: str, images: int, seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures of `SECTIONS` by name, on at most `images` of the split, and for those that cannot be had, why not.

    The images are chosen evenly over the classes by seed and decoded once; backgrounds are lent by the whole split.
    Deterministic, and run by one process. Raises `UserError` where an image or a mask cannot be read.
    """
    records = dataset.split(split)
    size = int(observer.model.pretrained_cfg["input_size"][-1])
    subset = load_subset(records, dataset.class_index, size, images, seed)
    clean = observer.observe(len(subset), lambda rows: observer.normalised(subset.images[rows]))
    found: dict[str, Any] = {"stability": stability(observer, subset, clean)}
    absent: dict[str, str] = {}
    if np.isnan(clean.rectangles).any():
        absent["use"] = "the model has no attention and so no rectangle to look into"
    else:
        found["use"] = use(observer, subset, clean)
    gap, why = _background_gap(observer, subset, dataset, split, seed)
    if gap is None:
        absent["background_gap"] = why
    else:
        found["background_gap"] = gap
    found["corruptions"] = corruption_robustness(observer, subset, clean, seed)
    return found, absent


def grad_cam_localization(observer: Observer, dataset: Dataset, split: str) -> tuple[dict[str, Any], dict[str, str]]:
    """`localization_grad_cam` of a split, by Grad-CAM's maps of the predicted classes, or why it cannot be had.

    It stands for `localization` where a model has no attention. Raises `UserError` where an image or a mask cannot be
    read.
    """
    records = [r for r in dataset.split(split) if r.boxes or r.mask]
    if not records:
        return {}, {"localization_grad_cam": f"no image of the split {split} has a box or a mask"}
    args = (dataset.class_index, observer.batch_size, observer.device, observer.precision)
    maps = grad_cam_maps(observer.model, records, *args, advance=observer.advance)
    return {"localization_grad_cam": map_localization(maps, records, dataset.split("train"))}, {}


def _background_gap(
    observer: Observer, subset: Subset, dataset: Dataset, split: str, seed: int
) -> tuple[dict[str, Any] | None, str]:
    records = dataset.split(split)
    if not any(r.boxes or r.mask for r in records):
        return None, f"no image of the split {split} has a box or a mask"
    pairs, without = pair_backgrounds(subset.records, records, subset.size, seed)
    if not pairs:
        return None, "no image has an object and another of its class that leaves room for a background"
    return background_gap(observer, subset, pairs) | {"n_without_background": without}, ""
