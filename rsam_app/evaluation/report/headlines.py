"""What a report says first: its figures beside their baselines, and in sentences what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tile:
    """One headline figure. `value` and `baselines` in [0, 1] are drawn on a bar where `bar` is set."""

    name: str
    text: str
    hint: str
    value: float | None = None
    baselines: tuple[tuple[str, float], ...] = ()

    @property
    def below(self) -> bool:
        """Whether a baseline does better."""
        return self.value is not None and any(b > self.value for _, b in self.baselines)


def percent(share: float) -> str:
    """A share as percent with one decimal, never broken between two lines."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def classification_tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    """Accuracy and calibration."""
    low, high = metrics["top1_interval"]
    majority = metrics["majority_class_top1"]
    scaled = metrics["calibration"]["ece_scaled"]
    after = f"{percent(scaled)} after temperature scaling" if scaled is not None else "15 bins; 0 is calibrated"
    return [
        Tile(
            "Top-1",
            percent(metrics["top1"]),
            f"95 % interval {100 * low:.1f} to {percent(high)}",
            metrics["top1"],
            (("most frequent class", majority),) if majority is not None else (),
        ),
        Tile("Macro top-1", percent(metrics["macro_top1"]), "mean over classes", metrics["macro_top1"]),
        Tile("Top-5", percent(metrics["top5"]), "label among the first five", metrics["top5"]),
        Tile("Calibration error", percent(metrics["ece"]), after),
        Tile("NLL", f"{metrics['nll']:.3f}", "nats per image, lower is better"),
    ]


def localization_tiles(located: Mapping[str, Any]) -> list[Tile]:
    """Where the model looks, against a fixed centre box and the whole image."""

    def against(*keys: tuple[str, str]) -> tuple[tuple[str, float], ...]:
        return tuple((name, located[key]) for name, key in keys if located[key] is not None)

    frozen = located["max_box_acc_v2_frozen"]
    return [
        Tile(
            "Mean IoU",
            f"{located['mean_iou']:.3f}",
            f"rotated {located['mean_rotated_iou']:.3f}",
            located["mean_iou"],
            against(("centre box", "centre_box_mean_iou"), ("full image", "full_image_mean_iou")),
        ),
        Tile(
            "IoU ≥ 0.5",
            percent(located["share_iou_50"]),
            "share of the images",
            located["share_iou_50"],
            against(("centre box", "centre_box_share_iou_50"), ("full image", "full_image_share_iou_50")),
        ),
        Tile(
            "MaxBoxAccV2",
            percent(located["max_box_acc_v2"]),
            f"{percent(frozen)} with training thresholds" if frozen is not None else "best threshold on this split",
            located["max_box_acc_v2"],
        ),
        Tile(
            "Pointing game",
            percent(located["pointing_game"]),
            "centre on the object, ±15 px",
            located["pointing_game"],
            against(("centre box", "centre_box_pointing_game")),
        ),
        Tile(
            "Energy inside",
            percent(located["energy_inside"]) if located["energy_inside"] is not None else "none",
            "share of the soft mask on the object",
            located["energy_inside"],
            (("object's area", located["area_share"]),),
        ),
    ]


def findings(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the figures mean, each with `good`, `bad` or `plain`."""
    low, high = metrics["top1_interval"]
    right = f"It names the right class for {percent(metrics['top1'])} of {metrics['n']:,} images"
    found = [("plain", f"{right} (95\N{NO-BREAK SPACE}% interval {100 * low:.1f} to {percent(high)}).")]
    found += _on_calibration(metrics)
    located = metrics.get("localization")
    if located:
        found += _on_place(located)
    elif "localization" in metrics["absent"]:
        found.append(("plain", f"Where it looks is not scored: {metrics['absent']['localization']}."))
    if metrics["n_without_prediction"]:
        found.append(("bad", f"{metrics['n_without_prediction']:,} images of the split have no prediction."))
    return found


def _on_calibration(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    filled = [b for b in metrics["calibration"]["bins"] if b["n"]]
    mean = sum(b["n"] * b["confidence"] for b in filled) / metrics["n"]
    gap = mean - metrics["top1"]
    if abs(gap) < 0.02:
        return [("good", f"Its confidence, {percent(mean)} on average, is about as high as its accuracy.")]
    more = "more" if gap > 0 else "less"
    temperature = metrics["calibration"]["temperature"]
    mend = f" Dividing its logits by {temperature:.2f} mends most of it." if _remedy(metrics) else ""
    return [("plain", f"It is {more} sure of itself than it should be: {percent(mean)} on average.{mend}")]


def _remedy(metrics: Mapping[str, Any]) -> bool:
    scaled = metrics["calibration"]["ece_scaled"]
    return bool(scaled is not None and scaled < 0.5 * metrics["ece"])


def _on_place(located: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    mean, centre = located["mean_iou"], located["centre_box_mean_iou"]
    if centre is not None:
        better = mean > centre
        relation = "above" if better else "not above"
        text = (
            f"Its rectangles overlap the objects with a mean IoU of {mean:.3f}, {relation} the {centre:.3f} of one"
            " fixed box in the centre."
        )
        found.append(("good" if better else "bad", text))
    degenerate = located["degeneracy"]
    for key, text in (("share_large", "cover more than 90 %"), ("share_small", "cover less than 2 %")):
        if degenerate[key] > 0.1:
            found.append(("bad", f"{percent(degenerate[key])} of the rectangles {text} of their image."))
    if degenerate["mean_rectangle_iou"] > 0.9:
        found.append(("bad", "The rectangles are nearly the same for every image."))
    if located["n_without_truth"]:
        found.append(("plain", f"{located['n_without_truth']:,} images have no {located['truth']} and are not scored."))
    return found
