"""Headlines of the report: figures with their baselines, and sentences that interpret them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BOXES = {"boxes": "the true boxes", "masks": "the boxes around the masks"}
"""True boxes in words, by `boxes_from`."""


@dataclass(frozen=True)
class Tile:
    """One headline figure; `value` and `baselines`, in [0, 1], are drawn on a bar."""

    name: str
    text: str
    hint: str
    value: float | None = None
    baselines: tuple[tuple[str, float], ...] = ()

    @property
    def below(self) -> bool:
        """Whether a baseline is better."""
        return self.value is not None and any(b > self.value for _, b in self.baselines)


def percent(share: float) -> str:
    """A share as percent with one decimal and a no-break space."""
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
        Tile(
            "Macro top-1",
            percent(metrics["macro_top1"]),
            _between(metrics["balanced_accuracy_interval"], "balanced accuracy"),
            metrics["macro_top1"],
        ),
        Tile("Macro F1", percent(metrics["macro_f1"]), _between(metrics["macro_f1_interval"]), metrics["macro_f1"]),
        *_auroc_tiles(metrics),
        Tile("Top-5", percent(metrics["top5"]), "label among the five most probable", metrics["top5"]),
        Tile("Calibration error", percent(metrics["ece"]), after),
        Tile("NLL", f"{metrics['nll']:.3f}", "nats per image, lower is better"),
    ]


def selective_tiles(selective: Mapping[str, Any]) -> list[Tile]:
    """Accuracy of the most confident answers, and the area under the risk–coverage curve."""
    shares = [
        Tile(
            f"Surest {coverage} %",
            percent(selective[key := f"accuracy_at_{coverage}"]),
            _between(selective[f"{key}_interval"], "right"),
            selective[key],
        )
        for coverage in (80, 90)
    ]
    area = f"{selective['aurc']:.3f}"
    low, high = selective["aurc_interval"]
    hint = "0 is best" if low is None else f"{low:.3f} to {high:.3f}; 0 is best"
    return [*shares, Tile("AURC", area, hint)]


def selective_line(metrics: Mapping[str, Any]) -> str:
    """Macro figures and the accuracy of the most confident answers, in a line."""
    selective, auroc = metrics["selective"], metrics["macro_auroc"]
    return (
        f"macro F1 {metrics['macro_f1']:.4f}, balanced accuracy {metrics['balanced_accuracy']:.4f}, macro AUROC"
        f" {'none' if auroc is None else f'{auroc:.4f}'}; right among the most confident 80 %:"
        f" {100 * selective['accuracy_at_80']:.1f} %, 90 %: {100 * selective['accuracy_at_90']:.1f} %,"
        f" AURC {selective['aurc']:.4f}"
    )


def taxonomy_lines(found: Mapping[str, Any]) -> list[str]:
    """Accuracy per level of the taxonomy, and of rolled-up answers if there are any: a line each."""
    levels = ", ".join(f"{level['level']} {100 * level['top1']:.1f} %" for level in found["levels"])
    lines = [f"top-1 by level: {levels}; {mistake_height(found)}"]
    if rolled := found["roll_up"]:
        given = [level for level in rolled["levels"] if level["n"]]
        answers = ", ".join(
            f"{level['level']} {100 * level['share']:.1f} % ({100 * level['accuracy']:.1f} % right)" for level in given
        )
        right = f", {100 * rolled['accuracy']:.1f} % of them right: {answers}" if given else ""
        lines.append(
            f"sure from a probability of {rolled['threshold']:.3f}, chosen for {100 * rolled['chosen_for']:g} % on val:"
            f" {100 * rolled['share']:.1f} % of the images answered{right}"
        )
    return lines


def mistake_height(found: Mapping[str, Any]) -> str:
    """How far up the taxonomy mistakes and labels meet, in words."""
    mean = found["mean_mistake_height"]
    if mean is None:
        return "no mistakes"
    return f"mistakes meet the label {mean:.2f} levels above the class on average"


def _auroc_tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    value = metrics["macro_auroc"]
    if value is None:
        return []
    return [Tile("Macro AUROC", f"{value:.3f}", _between(metrics["macro_auroc_interval"], "one against the rest"))]


def _between(interval: Sequence[float | None], what: str = "") -> str:
    """A 95 % interval in words, behind `what` it is of; that alone without one."""
    low, high = interval
    text = "" if low is None or high is None else f"95 % interval {100 * low:.1f} to {percent(high)}"
    return ", ".join(part for part in (what, text) if part)


def localization_tiles(located: Mapping[str, Any]) -> list[Tile]:
    """Localization, against a fixed centre box and the full image."""
    frozen = located["max_box_acc_v2_frozen"]
    return [
        *overlap_tiles(located, f"rotated {located['mean_rotated_iou']:.3f}"),
        Tile(
            "MaxBoxAccV2",
            percent(located["max_box_acc_v2"]),
            f"{percent(frozen)} with training thresholds" if frozen is not None else "best threshold on this split",
            located["max_box_acc_v2"],
        ),
        Tile(
            "Pointing game",
            percent(located["pointing_game"]),
            "centre within 15 px of the object",
            located["pointing_game"],
            _baselines(located, "pointing_game"),
        ),
        Tile(
            "Energy inside",
            percent(located["energy_inside"]) if located["energy_inside"] is not None else "none",
            "share of the soft mask on the object",
            located["energy_inside"],
            (("object's area", located["area_share"]),),
        ),
    ]


def overlap_lines(located: Mapping[str, Any]) -> list[str]:
    """The rectangles' IoU with boxes, then with masks, each beside its baselines: one line per kind of truth."""
    names = {"masks": "the masks", "own_boxes": "the images' own boxes"}
    others = [(located[key], name) for key, name in names.items() if key in located]
    return [_overlap_line(found, truth) for found, truth in [(located, boxes_name(located)), *others]]


def boxes_name(located: Mapping[str, Any]) -> str:
    """The boxes of the headline figures, in words."""
    return BOXES[located["boxes_from"]]


def _overlap_line(found: Mapping[str, Any], truth: str) -> str:
    mean, share, centre = found["mean_iou"], 100 * found["share_iou_50"], found["centre_box_mean_iou"]
    return (
        f"rectangles: mean IoU {mean:.3f} with {truth} ({share:.1f} % with .5 or more);"
        f" {'no centre box' if centre is None else f'centre box {centre:.3f}'},"
        f" full image {found['full_image_mean_iou']:.3f}; {found['n']:,} images"
    )


def mask_tiles(located: Mapping[str, Any]) -> list[Tile]:
    """The overlap with masks, pixel by pixel; none without masks."""
    masks = located.get("masks")
    if masks is None:
        return []
    hint = f"upright {masks['mean_upright_iou']:.3f}" if "mean_upright_iou" in masks else "of the box"
    return [
        *overlap_tiles(masks, hint),
        Tile("PxAP", percent(masks["px_ap"]), "pixel average precision", masks["px_ap"]),
    ]


def overlap_tiles(located: Mapping[str, Any], hint: str) -> list[Tile]:
    """Mean IoU, with this hint, and the share of images with an IoU of 0.5 or more."""
    mean, share = located["mean_iou"], located["share_iou_50"]
    return [
        Tile("Mean IoU", f"{mean:.3f}", hint, mean, _baselines(located, "mean_iou")),
        Tile("IoU ≥ 0.5", percent(share), "share of the images", share, _baselines(located, "share_iou_50")),
    ]


def _baselines(located: Mapping[str, Any], figure: str) -> tuple[tuple[str, float], ...]:
    values = {name: located.get(f"{name.replace(' ', '_')}_{figure}") for name in ("centre box", "full image")}
    return tuple((name, value) for name, value in values.items() if value is not None)


def findings(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Sentences that interpret the figures, each with its tone: `good`, `bad` or `plain`."""
    low, high = metrics["top1_interval"]
    accuracy = f"It predicts the right class for {percent(metrics['top1'])} of {metrics['n']:,} images"
    sentences = [("plain", f"{accuracy} (95\N{NO-BREAK SPACE}% interval {100 * low:.1f} to {percent(high)}).")]
    if metrics["split"] == "val":
        sentences.append(
            ("plain", "These are the validation images, which also chose the best epoch: expect less on new ones.")
        )
    if left_out := metrics.get("trained_on"):
        sentences.append(("bad", f"{len(left_out):,} images of the split are left out: the run was trained on them."))
    sentences += _calibration_findings(metrics)
    located = metrics.get("localization")
    if located:
        sentences += _localization_findings(located)
    elif "localization" in metrics["absent"]:
        sentences.append(("plain", f"Its attention is not scored: {metrics['absent']['localization']}."))
    if metrics["n_without_prediction"]:
        sentences.append(("bad", f"{metrics['n_without_prediction']:,} images of the split have no prediction."))
    return sentences


def _calibration_findings(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    filled = [b for b in metrics["calibration"]["bins"] if b["n"]]
    mean = sum(b["n"] * b["confidence"] for b in filled) / metrics["n"]
    gap = mean - metrics["top1"]
    if abs(gap) < 0.02:
        return [("good", f"Its confidence, {percent(mean)} on average, matches its accuracy.")]
    fault = "overconfident" if gap > 0 else "underconfident"
    temperature = metrics["calibration"]["temperature"]
    remedy = f" Dividing its logits by {temperature:.2f} corrects most of that." if _scaling_helps(metrics) else ""
    return [("plain", f"It is {fault}: its confidence is {percent(mean)} on average.{remedy}")]


def _scaling_helps(metrics: Mapping[str, Any]) -> bool:
    scaled = metrics["calibration"]["ece_scaled"]
    return bool(scaled is not None and scaled < 0.5 * metrics["ece"])


def own_boxes_note(located: Mapping[str, Any]) -> str:
    """Why the masks' boxes are scored instead of the images' own, and the IoU with those."""
    own, agreement = located["own_boxes"], located["box_agreement"]
    agrees = "" if agreement is None else f" (mean IoU {agreement:.2f} between the two)"
    centre = own["centre_box_mean_iou"]
    baseline = "" if centre is None else f", that of a fixed centre box {centre:.3f}"
    return (
        f"Boxes are taken from the masks, not from the {own['n']:,} images with boxes of their own{agrees}; the"
        f" rectangles' mean IoU with those is {own['mean_iou']:.3f}{baseline}."
    )


def _localization_findings(located: Mapping[str, Any]) -> list[tuple[str, str]]:
    sentences = []
    mean, centre = located["mean_iou"], located["centre_box_mean_iou"]
    if centre is not None:
        better = mean > centre
        relation = "above" if better else "not above"
        text = (
            f"Its rectangles have a mean IoU of {mean:.3f} with {boxes_name(located)},"
            f" {relation} that of a fixed centre box ({centre:.3f})."
        )
        sentences.append(("good" if better else "bad", text))
    degenerate = located["degeneracy"]
    for key, text in (("share_large", "cover more than 90 %"), ("share_small", "cover less than 2 %")):
        if degenerate[key] > 0.1:
            sentences.append(("bad", f"{percent(degenerate[key])} of the rectangles {text} of their image."))
    if degenerate["mean_rectangle_iou"] > 0.9:
        sentences.append(("bad", "The rectangles are nearly the same in all images."))
    if located["n_without_truth"]:
        sentences.append(
            ("plain", f"{located['n_without_truth']:,} images have no {located['boxes_from']} and are not scored.")
        )
    if "own_boxes" in located:
        sentences.append(("plain", own_boxes_note(located)))
    return sentences
