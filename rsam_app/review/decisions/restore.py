"""Restores FiftyOne's fields when `rsam apply` is undone, so that the decisions are not read again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rsam_app.geometry.types import Rectangle
from rsam_app.review.dataset.class_list import forget_unused_classes
from rsam_app.review.dataset.class_names import take_names_back
from rsam_app.review.dataset.guest import field_of
from rsam_app.review.dataset.record_fields import mark_of_place
from rsam_app.review.dataset.schema import JUDGED_PLACE, memory, open_review, run_keys
from rsam_app.review.dataset.targets import as_target
from rsam_app.review.decisions.marks import set_by_id, unmark
from rsam_app.review.decisions.read import VERDICTS, read_decisions
from rsam_app.run.corrections import Correction
from rsam_app.system.json_files import parse_json


def take_back(dataset_name: str, run_key: str, rows: Iterable[Correction]) -> list[str]:
    """Set the FiftyOne dataset to each row's `after` if its decision is still the row's `before`.

    A class gets its former name back (images of merged classes follow with the next `rsam review`); a label becomes
    the former one, and a new class that no image has any more is forgotten; a target, an acceptance or
    a dragged model box becomes the former target, or none; an exclusion or a mark about a place is lifted or restored.
    Returns the ids of records with a newer decision, which stays. Raises `UserError` if the dataset or the run is not
    in FiftyOne.
    """
    current = {(c.id, c.kind): c.after for c in read_decisions(dataset_name, run_key, "").corrections}
    review_set = open_review(dataset_name)
    undone: dict[str, dict[str, str]] = {}
    left = set()
    for row in rows:
        decision = current.get((row.id, row.kind))
        if decision == row.before:
            undone.setdefault(row.kind, {})[row.id] = row.after
        elif decision not in (None, row.after):
            left.add(row.id)
    if "class" in undone:
        take_names_back(review_set, undone.pop("class"))
    restorers = {
        "label": _restore_labels,
        "rectangle": _restore_rectangles,
        "exclude": _restore_marks,
        "place": _restore_places,
    }
    for kind, restore in restorers.items():
        if kind in undone:
            restore(review_set, _by_sample_id(review_set, undone[kind]))
    return sorted(left)


def _by_sample_id(review_set: Any, values: dict[str, str]) -> dict[str, str]:
    """Values by sample id instead of record id."""
    samples = review_set.select_by("record_id", list(values)).values(["id", "record_id"])
    return {sample_id: values[record_id] for sample_id, record_id in zip(*samples, strict=True)}


def _restore_labels(review_set: Any, labels: dict[str, str]) -> None:
    names = memory(review_set).class_names
    labels = {i: names.get(label, label) for i, label in labels.items()}
    field = field_of(review_set, "ground_truth")
    set_by_id(review_set, f"{field}.label", {i: label for i, label in labels.items() if label})
    set_by_id(review_set, field, {i: None for i, label in labels.items() if not label})
    forget_unused_classes(review_set)


def _restore_rectangles(review_set: Any, rectangles: dict[str, str]) -> None:
    without = [i for i, text in rectangles.items() if not text]
    if without:
        unmark(review_set, without, "accept")
        for key in run_keys(review_set):
            _restore_model_boxes(review_set, without, f"{key}_attention")
    size = field_of(review_set, "metadata")
    sizes = review_set.select(list(rectangles)).values(["id", f"{size}.width", f"{size}.height"])
    targets = {
        i: as_target(Rectangle(*parse_json(rectangles[i])), width, height) if rectangles[i] else None
        for i, width, height in zip(*sizes, strict=True)
    }
    set_by_id(review_set, "attention_target", targets)


def _restore_marks(review_set: Any, excluded: dict[str, str]) -> None:
    unmark(review_set, [i for i, text in excluded.items() if text == "false"], "exclude")
    set_by_id(review_set, "review", {i: "exclude" for i, text in excluded.items() if text == "true"})


def _restore_places(review_set: Any, places: dict[str, str]) -> None:
    for mark in VERDICTS:
        unmark(review_set, [i for i, text in places.items() if not text], mark)
    set_by_id(review_set, JUDGED_PLACE, {i: text or None for i, text in places.items()})
    set_by_id(review_set, "review", {i: mark_of_place(text, i) for i, text in places.items() if text})


def _restore_model_boxes(review_set: Any, sample_ids: list[str], field: str) -> None:
    """Move the boxes of a run back to the model's position, and remove those that the reviewer added among them."""
    import fiftyone as fo

    if not review_set.has_sample_field(field):
        return
    restored = {}
    for sample_id, detections in zip(*review_set.select(sample_ids).values(["id", f"{field}.detections"]), strict=True):
        if not detections:
            continue
        model_detections = [d for d in detections if d.has_field("model_box") and d["model_box"]]
        for detection in model_detections:
            detection.bounding_box = list(detection["model_box"])
        restored[sample_id] = fo.Detections(detections=model_detections)
    set_by_id(review_set, field, restored)
