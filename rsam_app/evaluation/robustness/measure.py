"""Robustness, which takes many passes over each image: stability, use, background gap and corruptions."""

from __future__ import annotations

from typing import Any

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
"""Forward passes per image if everything can be measured."""


def measure_robustness(
    runner: ModelRunner, dataset: Dataset, split: str, images: int, seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Measure `SECTIONS` on at most `images` of the split; returns the figures by section, and the reason for each
    missing one.

    The images are chosen evenly over the classes by seed and decoded once; background donors come from the whole split.
    Deterministic; run it in one process. Raises `UserError` if an image or a mask cannot be read.
    """
    records = dataset.split(split)
    subset = load_subset(records, dataset.class_index, runner.side, images, seed)
    clean = predict_views(runner, len(subset), lambda rows: runner.normalise(subset.images[rows]))
    figures: dict[str, Any] = {"stability": stability(runner, subset, clean)}
    absent: dict[str, str] = {}
    if not clean.has_rectangles:
        absent["use"] = "the model has no attention, so it has no rectangle"
    else:
        figures["use"] = use(runner, subset, clean)
    gap, reason = _background_gap(runner, subset, dataset, split, seed)
    if gap is None:
        absent["background_gap"] = reason
    else:
        figures["background_gap"] = gap
    figures["corruptions"] = corruption_robustness(runner, subset, clean, seed)
    return figures, absent


def grad_cam_localization(runner: ModelRunner, dataset: Dataset, split: str) -> tuple[dict[str, Any], dict[str, str]]:
    """`localization_grad_cam` of a split, from Grad-CAM of the predicted classes, or the reason why it is missing.

    It replaces `localization` for models without attention. Raises `UserError` if an image or a mask cannot be read.
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
        return None, "no image has an object and another image of its class with enough background"
    return background_gap(runner, subset, pairs) | {"n_without_background": without}, ""
