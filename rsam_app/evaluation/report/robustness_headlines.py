"""What a report says about stability, use, background, groups, corruptions and Grad-CAM: tiles and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rsam_app.evaluation.report.headlines import Tile, percent

LEANS = 0.05
"""A background gap from which we say that a model leans on the background, if it is past two standard errors."""


def robustness_tiles(metrics: Mapping[str, Any]) -> dict[str, list[Tile]]:
    """The tiles of each section, by the name the page knows them under; none where the section was not measured."""
    makers = {
        "stability_tiles": ("stability", _stability),
        "use_tiles": ("use", _use),
        "background_tiles": ("background_gap", _background),
        "corruption_tiles": ("corruptions", _corruptions),
        "group_tiles": ("worst_group", _groups),
        "grad_cam_tiles": ("localization_grad_cam", _grad_cam),
    }
    return {name: make(metrics[key]) if key in metrics else [] for name, (key, make) in makers.items()}


def robustness_findings(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the figures mean, each with `good`, `bad` or `plain`."""
    found = []
    if "use" in metrics:
        entry = metrics["use"]["mean_colour"]
        text = (
            f"It gives its answer {percent(metrics['use']['p_whole'])} on the whole image, {percent(entry['p_inside'])}"
            f" when only its rectangle is left, {percent(entry['p_outside'])} when its rectangle is wiped out."
        )
        found.append(("good" if entry["difference"] > max(0.0, entry["fixed_difference"]) else "bad", text))
    if "background_gap" in metrics:
        entry = metrics["background_gap"]
        sure = entry["standard_error"] is not None and entry["gap"] > 2 * entry["standard_error"]
        if sure and entry["gap"] > LEANS:
            found.append(("bad", f"Backgrounds of another class cost {percent(entry['gap'])} of its accuracy."))
    if "worst_group" in metrics:
        entry = metrics["worst_group"]
        text = (
            f"Worst group: {entry['worst_label']} with {entry['worst_group']}, {percent(entry['worst'])} right"
            f" ({entry['worst_n']} images); the groups' mean is {percent(entry['mean'])}."
        )
        found.append(("plain", text))
    if "corruptions" in metrics and metrics["corruptions"]["relative"] is not None:
        text = f"On worse photographs it keeps {percent(metrics['corruptions']['relative'])} of its accuracy."
        found.append(("plain", text))
    return found


def _stability(entry: Mapping[str, Any]) -> list[Tile]:
    tiles = [Tile("Same class", percent(entry["same_class"]), "share of the transformed images", entry["same_class"])]
    if "rotated_iou" not in entry:
        return tiles
    fixed = (("one fixed rectangle", entry["fixed_rotated_iou"]),)
    return [
        Tile("Rectangle found again", f"{entry['rotated_iou']:.3f}", "rotated IoU", entry["rotated_iou"], fixed),
        Tile("Angle error", f"{math.degrees(entry['angle_error']):.1f}°", "mean over images and transforms"),
        *tiles,
    ]


def _use(entry: Mapping[str, Any]) -> list[Tile]:
    names = {"mean_colour": "Inside minus outside", "blur": "The same, blurred"}
    hints = {"mean_colour": "what is wiped out is the mean colour", "blur": "what is wiped out is blurred"}
    return [
        Tile(
            names[fill],
            percent(entry[fill]["difference"]),
            hints[fill],
            _bar(entry[fill]["difference"]),
            (("one fixed rectangle", max(0.0, entry[fill]["fixed_difference"])),),
        )
        for fill in names
    ]


def _background(entry: Mapping[str, Any]) -> list[Tile]:
    error = f"± {percent(entry['standard_error'])}" if entry["standard_error"] is not None else "one image"
    return [
        Tile("Background gap", percent(entry["gap"]), f"same class minus any; standard error {error}"),
        Tile("Own background", percent(entry["top1_original"]), "top-1, untouched", entry["top1_original"]),
        Tile("Of the same class", percent(entry["top1_same"]), "top-1, object pasted", entry["top1_same"]),
        Tile("Of any class", percent(entry["top1_random"]), "top-1, object pasted", entry["top1_random"]),
    ]


def _corruptions(entry: Mapping[str, Any]) -> list[Tile]:
    tiles = [
        Tile("Top-1, corrupted", percent(entry["top1"]), f"clean {percent(entry['clean_top1'])}", entry["top1"]),
    ]
    if entry["relative"] is not None:
        tiles.insert(0, Tile("Accuracy kept", percent(entry["relative"]), "relative to clean", _bar(entry["relative"])))
    if "rotated_iou" in entry:
        text = f"{entry['rotated_iou']:.3f}"
        tiles.append(Tile("Rectangle stays", text, "rotated IoU with the clean one", entry["rotated_iou"]))
    return tiles


def _groups(entry: Mapping[str, Any]) -> list[Tile]:
    return [
        Tile("Worst group", percent(entry["worst"]), f"{entry['worst_n']} images", entry["worst"]),
        Tile("Mean of the groups", percent(entry["mean"]), f"{len(entry['by_group'])} groups", entry["mean"]),
        Tile("Mean minus worst", percent(entry["gap"]), "0 where the groups are alike"),
    ]


def _grad_cam(entry: Mapping[str, Any]) -> list[Tile]:
    def against(*keys: tuple[str, str]) -> tuple[tuple[str, float], ...]:
        return tuple((name, entry[key]) for name, key in keys if entry[key] is not None)

    tiles = [
        Tile(
            "Mean IoU",
            f"{entry['mean_iou']:.3f}",
            f"box above {percent(entry['threshold'])} of the maximum",
            entry["mean_iou"],
            against(("centre box", "centre_box_mean_iou"), ("full image", "full_image_mean_iou")),
        ),
        Tile(
            "IoU ≥ 0.5",
            percent(entry["share_iou_50"]),
            "share of the images",
            entry["share_iou_50"],
            against(("centre box", "centre_box_share_iou_50"), ("full image", "full_image_share_iou_50")),
        ),
        Tile("MaxBoxAccV2", percent(entry["max_box_acc_v2"]), "best threshold on this split", entry["max_box_acc_v2"]),
        Tile("Pointing game", percent(entry["pointing_game"]), "maximum on the object, ±15 px", entry["pointing_game"]),
    ]
    if "px_ap" in entry:
        tiles.append(Tile("PxAP", percent(entry["px_ap"]), "pixel average precision, masks", entry["px_ap"]))
    return tiles


def _bar(value: float) -> float:
    """A value on a bar that begins at 0 and ends at 1."""
    return min(1.0, max(0.0, value))
