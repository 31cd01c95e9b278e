"""All that takes many looks at each image: stability, use, background gap and corruptions, on a part of a split."""

from __future__ import annotations

from typing import Any

import numpy as np

from rsam_app.data.records import Dataset
from rsam_app.evaluation.inference.grad_cam import grad_cam_maps
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.robustness.background import background_gap, pair_backgrounds
from rsam_app.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corruption_robustness
from rsam_app.evaluation.robustness.counterfactual import FILLS, use
from rsam_app.evaluation.robustness.map_localization import map_localization
from rsam_app.evaluation.robustness.stability import TRANSFORMS, stability
from rsam_app.evaluation.robustness.subset import Subset, load_subset
from rsam_app.evaluation.robustness.view_outputs import predict_views

SECTIONS = ("stability", "use", "background_gap", "corruptions")
PASSES = 1 + len(TRANSFORMS) + 4 * len(FILLS) + 3 + len(CORRUPTIONS) * len(SEVERITIES)
"""Looks at each image where everything can be measured."""


def measure_robustness(
    runner: ModelRunner, dataset: Dataset, split: str, images: int, seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures of `SECTIONS` by name, on at most `images` of the split, and for those that cannot be had, why not.

    The images are chosen evenly over the classes by seed and decoded once; backgrounds are lent by the whole split.
    Deterministic, and run by one process. Raises `UserError` where an image or a mask cannot be read.
    """
    records = dataset.split(split)
    subset = load_subset(records, dataset.class_index, runner.side, images, seed)
    clean = predict_views(runner, len(subset), lambda rows: runner.normalise(subset.images[rows]))
    found: dict[str, Any] = {"stability": stability(runner, subset, clean)}
    absent: dict[str, str] = {}
    if np.isnan(clean.rectangles).any():
        absent["use"] = "the model has no attention and so no rectangle to look into"
    else:
        found["use"] = use(runner, subset, clean)
    gap, why = _background_gap(runner, subset, dataset, split, seed)
    if gap is None:
        absent["background_gap"] = why
    else:
        found["background_gap"] = gap
    found["corruptions"] = corruption_robustness(runner, subset, clean, seed)
    return found, absent


def grad_cam_localization(runner: ModelRunner, dataset: Dataset, split: str) -> tuple[dict[str, Any], dict[str, str]]:
    """`localization_grad_cam` of a split, by Grad-CAM's maps of the predicted classes, or why it cannot be had.

    It stands for `localization` where a model has no attention. Raises `UserError` where an image or a mask cannot be
    read.
    """
    records = [r for r in dataset.split(split) if r.boxes or r.mask]
    if not records:
        return {}, {"localization_grad_cam": f"no image of the split {split} has a box or a mask"}
    maps = grad_cam_maps(runner, records)
    return {"localization_grad_cam": map_localization(maps, records, dataset.split("train"))}, {}


def _background_gap(
    runner: ModelRunner, subset: Subset, dataset: Dataset, split: str, seed: int
) -> tuple[dict[str, Any] | None, str]:
    records = dataset.split(split)
    if not any(r.boxes or r.mask for r in records):
        return None, f"no image of the split {split} has a box or a mask"
    pairs, without = pair_backgrounds(subset.records, records, subset.size, seed)
    if not pairs:
        return None, "no image has an object and another of its class that leaves room for a background"
    return background_gap(runner, subset, pairs) | {"n_without_background": without}, ""
