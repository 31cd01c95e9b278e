"""Decisions: everything a person did to the review dataset, read back as corrections."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rsam_app.review.dataset.fields import moved
from rsam_app.review.dataset.schema import DECISIONS, memory, open_review, run_keys
from rsam_app.review.dataset.targets import adopt_accepted, rectangle_of
from rsam_app.run.corrections import Correction, Kind, now
from rsam_app.system.errors import UserError

FIELDS = ("id", "record_id", "filepath", "review", "tags", "ground_truth.label", "original_label")
LATER_FIELDS = ("decided_kinds", "metadata.width", "metadata.height", "attention_target.detections")


@dataclass
class Decisions:
    """What `read_decisions` found."""

    corrections: list[Correction] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be read, each with its record's id and a remedy. It stays in FiftyOne as it is."""
    marks: Counter[str] = field(default_factory=Counter)
    """How many samples carry each `review` decision."""


def read_decisions(dataset_name: str, run_key: str, who: str) -> Decisions:
    """What a person decided in the FiftyOne dataset, as corrections in the name of `who` and of the run `run_key`.

    - `label`: `ground_truth` was edited.
    - `rectangle`: a box drawn in `attention_target`; else a model's box dragged, of this run before others; else the
      rectangle of this run, where `review` or a tag says 'accept' (it becomes the target, and stays when a later run
      looks elsewhere).
    - `exclude`: `review` or a tag says 'exclude'.

    A decision that was read once and is taken back since is returned with the `after` that undoes it. Reading twice
    returns the same; `corrections.add_corrections` adds only what is new. Raises `UserError` where the dataset or the
    run is not in FiftyOne.
    """
    review_set = open_review(dataset_name)
    keys = run_keys(review_set)
    if run_key not in keys:
        raise UserError(
            f"FiftyOne dataset {dataset_name!r} has no run {run_key!r} (has: {', '.join(keys) or 'none'}).\n"
            "Run `rsam review RUN` first."
        )
    keys = [run_key, *(k for k in keys if k != run_key)]
    found = Decisions()
    for record_id in adopt_accepted(review_set, run_key):
        found.problems.append(f"{record_id}: accepted, but {run_key} shows no rectangle. Draw one in attention_target.")
    reader = _Reader(review_set, keys, who, found)
    touched = review_set.match(is_decided(keys))
    boxes = [f"{key}_attention.detections" for key in keys]
    read_kinds = {}
    for row in zip(*touched.values([*FIELDS, *LATER_FIELDS, *boxes]), strict=True):
        sample = dict(zip((*FIELDS, *LATER_FIELDS, *boxes), row, strict=True))
        known = set(sample["decided_kinds"] or [])
        kinds = known | reader.read(sample)
        if kinds != known:
            read_kinds[sample["id"]] = sorted(kinds)
    if (
        read_kinds
    ):  # before the caller stores the corrections: a crash in between loses nothing, the next call returns them
        review_set.set_values("decided_kinds", read_kinds, key_field="id", validate=False, expand_schema=False)
    return found


def is_decided(keys: list[str]) -> Any:
    """A FiftyOne expression: a person decided something about the sample, or once did."""
    from fiftyone import ViewField as F

    dragged = [
        F(f"{key}_attention.detections").filter(F("bounding_box") != F("model_box")).length() > 0 for key in keys
    ]
    return F.any(
        [
            F("review").exists(),
            F("tags").contains(["accept", "exclude"]),
            _or_blank("ground_truth.label") != _or_blank("original_label"),
            F("attention_target.detections").length() > 0,
            F("decided_kinds").length() > 0,
            *dragged,
        ]
    )


def _or_blank(field: str) -> Any:
    """What the database has there; the empty string where it has nothing."""
    from fiftyone import ViewExpression

    return ViewExpression({"$ifNull": [f"${field}", ""]})


class _Reader:
    def __init__(self, review_set: Any, keys: list[str], who: str, found: Decisions) -> None:
        self.classes = set(memory(review_set).get("classes", []))
        self.keys = keys
        self.who = who
        self.when = now()
        self.found = found

    def read(self, sample: dict[str, Any]) -> set[str]:
        """Append the sample's corrections and problems; returns the kinds of decision that were read."""
        if sample["record_id"] is None:
            self.found.problems.append(
                f"{sample['filepath']}: not an image of this dataset. Add it to the card's files."
            )
            return set()
        before = len(self.found.corrections)
        known = set(sample["decided_kinds"] or [])
        self._mark(sample)
        self._label(sample, known)
        self._rectangle(sample, known)
        excluded = sample["review"] == "exclude" or "exclude" in (sample["tags"] or [])
        if excluded or "exclude" in known:
            self._add(sample, "exclude", "false", "true" if excluded else "false")
        return {c.kind for c in self.found.corrections[before:]}

    def _mark(self, sample: dict[str, Any]) -> None:
        mark = sample["review"]
        if mark in DECISIONS:
            self.found.marks[mark] += 1
        elif mark:
            self._problem(sample, f"review says {mark!r}, expected one of: {', '.join(DECISIONS)}.")

    def _label(self, sample: dict[str, Any], known: set[str]) -> None:
        label, original = sample["ground_truth.label"] or "", sample["original_label"] or ""
        if label == original and "label" not in known:
            return
        if label not in self.classes and (label or original):
            self._problem(sample, f"label {label or None!r} is no class of the dataset. Give it one in ground_truth.")
            return
        self._add(sample, "label", original, label)

    def _rectangle(self, sample: dict[str, Any], known: set[str]) -> None:
        drawn = sample["attention_target.detections"] or []
        for key in self.keys:
            drawn = drawn or [d for d in sample[f"{key}_attention.detections"] or [] if _reviewer_edits(d)]
        if len(drawn) > 1:
            self._problem(sample, f"{len(drawn)} boxes are drawn, one is needed. Delete the others.")
        elif drawn:
            try:
                five = rectangle_of(drawn[0], sample["metadata.width"], sample["metadata.height"])
            except (ValueError, TypeError) as error:
                self._problem(sample, f"the drawn box cannot be read: {error}. Draw it again.")
            else:
                self._add(sample, "rectangle", "", json.dumps([round(v, 4) for v in five]))
        elif "rectangle" in known:
            self._add(sample, "rectangle", "", "")

    def _problem(self, sample: dict[str, Any], text: str) -> None:
        self.found.problems.append(f"{sample['record_id']}: {text}")

    def _add(self, sample: dict[str, Any], kind: Kind, before: str, after: str) -> None:
        new = Correction(sample["record_id"], kind, before, after, self.who, self.when, self.keys[0])
        self.found.corrections.append(new)


def _reviewer_edits(detection: Any) -> bool:
    return moved(detection.bounding_box, detection["model_box"] if detection.has_field("model_box") else None)
