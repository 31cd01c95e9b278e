"""Taking decisions back in FiftyOne, so that what an undone `rsam apply` had read is not read again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rsam_app.review.dataset.schema import open_review, run_keys
from rsam_app.review.dataset.targets import as_target
from rsam_app.review.decisions.read import read_decisions
from rsam_app.run.corrections import Correction


def take_back(dataset_name: str, run_key: str, rows: Iterable[Correction]) -> list[str]:
    """Let the FiftyOne dataset say what these rows bring back (`after`) where it still says what they undo (`before`).

    A label becomes the former one; a rectangle's target, its acceptance and a dragged model box become the former
    target, or none; an exclusion is lifted or made again. Returns ids of records about which a person said something
    newer, which stays. Raises `UserError` where the dataset or the run is not in FiftyOne.
    """
    said = {(c.id, c.kind): c.after for c in read_decisions(dataset_name, run_key, "").corrections}
    review_set = open_review(dataset_name)
    undone: dict[str, list[Correction]] = {}
    left = []
    for row in rows:
        now = said.get((row.id, row.kind))
        if now == row.before:
            undone.setdefault(row.kind, []).append(row)
        elif now not in (None, row.after):
            left.append(row.id)
    for kind, restore in (("label", _labels), ("rectangle", _rectangles), ("exclude", _exclusions)):
        if found := undone.get(kind):
            restore(review_set, _by_sample(review_set, found))
    return sorted(set(left))


def _by_sample(review_set: Any, rows: list[Correction]) -> dict[str, str]:
    """What to bring back, by sample id."""
    wanted = {row.id: row.after for row in rows}
    found = review_set.select_by("record_id", list(wanted)).values(["id", "record_id"])
    return {sample_id: wanted[record_id] for sample_id, record_id in zip(*found, strict=True)}


def _labels(review_set: Any, wanted: dict[str, str]) -> None:
    _set(review_set, "ground_truth.label", {i: label for i, label in wanted.items() if label})
    _set(review_set, "ground_truth", {i: None for i, label in wanted.items() if not label})


def _rectangles(review_set: Any, wanted: dict[str, str]) -> None:
    gone = [i for i, text in wanted.items() if not text]
    if gone:
        _unmark(review_set, gone, "accept")
        for key in run_keys(review_set):
            _undrag(review_set, gone, f"{key}_attention")
    sizes = review_set.select(list(wanted)).values(["id", "metadata.width", "metadata.height"])
    targets = {i: as_target(json.loads(wanted[i]), w, h) if wanted[i] else None for i, w, h in zip(*sizes, strict=True)}
    _set(review_set, "attention_target", targets)


def _exclusions(review_set: Any, wanted: dict[str, str]) -> None:
    _unmark(review_set, [i for i, text in wanted.items() if text == "false"], "exclude")
    _set(review_set, "review", {i: "exclude" for i, text in wanted.items() if text == "true"})


def _unmark(review_set: Any, sample_ids: list[str], mark: str) -> None:
    """Take off the mark and the tag of this name."""
    from fiftyone import ViewField as F

    if not sample_ids:
        return
    chosen = review_set.select(sample_ids)
    _set(review_set, "review", dict.fromkeys(chosen.match(F("review") == mark).values("id")))
    chosen.match_tags(mark).untag_samples(mark)


def _undrag(review_set: Any, sample_ids: list[str], field: str) -> None:
    """Put the boxes of a run back where its model had them, and remove those that a person drew among them."""
    import fiftyone as fo

    if not review_set.has_sample_field(field):
        return
    found = review_set.select(sample_ids).values(["id", f"{field}.detections"])
    back = {}
    for sample_id, detections in zip(*found, strict=True):
        ours = [d for d in detections or [] if d.has_field("model_box") and d["model_box"]]
        for detection in ours:
            detection.bounding_box = list(detection["model_box"])
        back[sample_id] = fo.Detections(detections=ours) if detections else None
    _set(review_set, field, {i: value for i, value in back.items() if value is not None})


def _set(review_set: Any, field: str, values: dict[str, Any]) -> None:
    if values:
        review_set.set_values(field, values, key_field="id", validate=False, expand_schema=False)
