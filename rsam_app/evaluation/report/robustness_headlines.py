"""Headlines of the report on stability, use, background, groups, corruptions and Grad-CAM."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rsam_app.evaluation.report.headlines import Tile, mask_tiles, overlap_tiles, percent

LARGE_GAP = 0.05
"""Background gap that is reported as a finding, if it is also above two standard errors."""


def robustness_tiles(metrics: Mapping[str, Any]) -> dict[str, list[Tile]]:
    """The tiles of each section, by their name in the template; none for sections that were not measured."""
    makers = {
        "stability_tiles": ("stability", _stability),
        "use_tiles": ("use", _use),
        "background_tiles": ("background_gap", _background),
        "corruption_tiles": ("corruptions", _corruptions),
        "group_tiles": ("worst_group", _groups),
        "grad_cam_tiles": ("localization_grad_cam", _grad_cam),
        "grad_cam_mask_tiles": ("localization_grad_cam", mask_tiles),
    }
    return {name: make(metrics[key]) if key in metrics else [] for name, (key, make) in makers.items()}


def robustness_findings(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Sentences that interpret the figures, each with its tone: `good`, `bad` or `plain`."""
    sentences = []
    if "use" in metrics:
        entry = metrics["use"]["mean_colour"]
        text = (
            f"The probability of its answer is {percent(metrics['use']['p_whole'])} for the whole image,"
            f" {percent(entry['p_inside'])} with only its rectangle, {percent(entry['p_outside'])} without it."
        )
        sentences.append(("good" if entry["difference"] > max(0.0, entry["fixed_difference"]) else "bad", text))
    if "background_gap" in metrics:
        entry = metrics["background_gap"]
        significant = entry["standard_error"] is not None and entry["gap"] > 2 * entry["standard_error"]
        if significant and entry["gap"] > LARGE_GAP:
            sentences.append(("bad", f"Backgrounds of random classes reduce its accuracy by {percent(entry['gap'])}."))
    if "worst_group" in metrics:
        entry = metrics["worst_group"]
        text = (
            f"Worst group: {entry['worst_label']} with {entry['worst_group']}, {percent(entry['worst'])} correct"
            f" ({entry['worst_n']} images); the mean over groups is {percent(entry['mean'])}."
        )
        sentences.append(("plain", text))
    if "corruptions" in metrics and metrics["corruptions"]["relative"] is not None:
        text = f"On corrupted photographs it keeps {percent(metrics['corruptions']['relative'])} of its accuracy."
        sentences.append(("plain", text))
    return sentences


def _stability(entry: Mapping[str, Any]) -> list[Tile]:
    tiles = [Tile("Same class", percent(entry["same_class"]), "share of the transformed images", entry["same_class"])]
    if "rotated_iou" not in entry:
        return tiles
    fixed = (("fixed rectangle", entry["fixed_rotated_iou"]),)
    return [
        Tile("Rectangle agreement", f"{entry['rotated_iou']:.3f}", "rotated IoU", entry["rotated_iou"], fixed),
        Tile("Angle error", f"{math.degrees(entry['angle_error']):.1f}°", "mean over images and transforms"),
        *tiles,
    ]


def _use(entry: Mapping[str, Any]) -> list[Tile]:
    names = {"mean_colour": "Inside minus outside", "blur": "The same with blur"}
    hints = {"mean_colour": "erased parts in the mean colour", "blur": "erased parts blurred"}
    return [
        Tile(
            names[fill],
            percent(entry[fill]["difference"]),
            hints[fill],
            _bar(entry[fill]["difference"]),
            (("fixed rectangle", max(0.0, entry[fill]["fixed_difference"])),),
        )
        for fill in names
    ]


def _background(entry: Mapping[str, Any]) -> list[Tile]:
    error = f"± {percent(entry['standard_error'])}" if entry["standard_error"] is not None else "one image"
    return [
        Tile("Background gap", percent(entry["gap"]), f"same class minus random; standard error {error}"),
        Tile("Own background", percent(entry["top1_original"]), "top-1, unchanged", entry["top1_original"]),
        Tile("Of the same class", percent(entry["top1_same"]), "top-1, object pasted", entry["top1_same"]),
        Tile("Of a random class", percent(entry["top1_random"]), "top-1, object pasted", entry["top1_random"]),
    ]


def _corruptions(entry: Mapping[str, Any]) -> list[Tile]:
    tiles = [
        Tile("Top-1, corrupted", percent(entry["top1"]), f"clean {percent(entry['clean_top1'])}", entry["top1"]),
    ]
    if entry["relative"] is not None:
        tiles.insert(0, Tile("Accuracy kept", percent(entry["relative"]), "relative to clean", _bar(entry["relative"])))
    if "rotated_iou" in entry:
        text = f"{entry['rotated_iou']:.3f}"
        tiles.append(Tile("Rectangle agreement", text, "rotated IoU with the clean one", entry["rotated_iou"]))
    return tiles


def _groups(entry: Mapping[str, Any]) -> list[Tile]:
    return [
        Tile("Worst group", percent(entry["worst"]), f"{entry['worst_n']} images", entry["worst"]),
        Tile("Mean of the groups", percent(entry["mean"]), f"{len(entry['by_group'])} groups", entry["mean"]),
        Tile("Mean minus worst", percent(entry["gap"]), "0 if all groups are equal"),
    ]


def _grad_cam(entry: Mapping[str, Any]) -> list[Tile]:
    return [
        *overlap_tiles(entry, f"box above {percent(entry['threshold'])} of the maximum"),
        Tile("MaxBoxAccV2", percent(entry["max_box_acc_v2"]), "best threshold on this split", entry["max_box_acc_v2"]),
        Tile(
            "Pointing game",
            percent(entry["pointing_game"]),
            "maximum within 15 px of the object",
            entry["pointing_game"],
        ),
    ]


def _bar(value: float) -> float:
    """A value clipped to a bar from 0 to 1."""
    return min(1.0, max(0.0, value))
