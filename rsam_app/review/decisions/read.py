"""Reads the reviewer's decisions from the review dataset as corrections."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rsam_app.geometry.types import Rectangle
from rsam_app.review.dataset.class_names import earlier_name
from rsam_app.review.dataset.decision_tags import DECISION_TAGS, decisions_of, has_decision_tag
from rsam_app.review.dataset.fields import LOCATED, moved
from rsam_app.review.dataset.guest import field_of, label_path
from rsam_app.review.dataset.schema import DECISIONS, JUDGED_PLACE, declare_judged_place, memory, open_review, run_keys
from rsam_app.review.dataset.targets import adopt_accepted, is_on_image, rectangle_of
from rsam_app.review.decisions.marks import set_by_id
from rsam_app.run.corrections import Correction, Kind, now, parse_place, place_text
from rsam_app.run.folder import LABELLING
from rsam_app.system.errors import UserError

VERDICTS = {"right": True, "wrong place": False}
"""Marks that say whether the model's rectangle is in the right place."""

FIELDS = (
    "id",
    "record_id",
    "filepath",
    "review",
    "tags",
    "original_label",
    "decided_kinds",
    JUDGED_PLACE,
    "attention_target.detections",
)
LABEL, WIDTH, HEIGHT = "ground_truth.label", "metadata.width", "metadata.height"
"""Further fields, whose names differ if the dataset is the user's."""


@dataclass
class Decisions:
    """Result of `read_decisions`."""

    corrections: list[Correction] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Decisions that could not be read, each with its record's id and a remedy. They stay in FiftyOne as they are."""
    marks: Counter[str] = field(default_factory=Counter)
    """Number of samples by mark."""


def read_decisions(dataset_name: str, run_key: str, who: str) -> Decisions:
    """Read the decisions in a FiftyOne dataset as corrections in the name of `who` and of the run `run_key`.

    - `class`: a class was renamed or merged.
    - `label`: `ground_truth` was edited; the classes have their names in the dataset's files.
    - `rectangle`: a box drawn in `attention_target`; else a dragged box of a model, of this run before others; else the
      rectangle of this run if `review` or a tag is 'accept' (it becomes the target, and stays when a later run looks
      elsewhere).
    - `exclude`: `review` or a tag is 'exclude'.
    - `place`: `review` is 'right' or 'wrong place', of the rectangle that this run showed when the mark was first read:
      the one found again by `rsam locate` if there is one, else the model's.

    A decision that was read before and has been taken back is returned with the `after` that undoes it. Reading twice
    returns the same; `corrections.add_corrections` adds only what is new. Raises `UserError` if the dataset or the run
    is not in FiftyOne; if `rsam label` made the dataset, there need be no run.
    """
    review_set = open_review(dataset_name)
    keys = run_keys(review_set)
    if run_key not in keys and memory(review_set).labelling:
        run_key = LABELLING
    elif run_key not in keys:
        raise UserError(
            f"FiftyOne dataset {dataset_name!r} has no run {run_key!r} (has: {', '.join(keys) or 'none'}).\n"
            "Run `rsam review RUN` first."
        )
    keys = [run_key, *(k for k in keys if k != run_key)]
    declare_judged_place(review_set)
    decisions = Decisions()
    for record_id in adopt_accepted(review_set, run_key):
        decisions.problems.append(
            f"{record_id}: accepted, but {run_key} has no rectangle. Draw one in attention_target."
        )
    reader = _Reader(review_set, keys, who, decisions)
    reader.read_class_names()
    shown = [key for key in keys if review_set.has_sample_field(f"{key}_attention")]  # FiftyOne can delete fields
    size = field_of(review_set, "metadata")
    again = [f"{run_key}_{LOCATED}"] if review_set.has_sample_field(f"{run_key}_{LOCATED}") else []
    rectangles = [f"{name}.detections" for name in (*(f"{key}_attention" for key in shown), *again)]
    names = [*FIELDS, *rectangles, LABEL, WIDTH, HEIGHT]
    paths = [*names[:-3], label_path(review_set), f"{size}.width", f"{size}.height"]
    new_kinds = {}
    for row in zip(*review_set.match(is_decided(review_set, shown)).values(paths), strict=True):
        sample = dict(zip(names, row, strict=True))
        known = set(sample["decided_kinds"] or [])
        kinds = known | reader.read(sample, known)
        if kinds != known:
            new_kinds[sample["id"]] = sorted(kinds)
    set_by_id(review_set, JUDGED_PLACE, reader.judged)
    # Stored before the corrections are: after a crash in between, the next call returns the same.
    set_by_id(review_set, "decided_kinds", new_kinds)
    return decisions


def is_decided(review_set: Any, keys: list[str]) -> Any:
    """Return a FiftyOne expression: the sample has a decision, or once had one."""
    from fiftyone import ViewField as F

    dragged = [
        F(f"{key}_attention.detections").filter(F("bounding_box") != F("model_box")).length() > 0 for key in keys
    ]
    return F.any(
        [
            F("review").exists(),
            has_decision_tag(*DECISION_TAGS),
            _or_blank(label_path(review_set)) != _or_blank("original_label"),
            F("attention_target.detections").length() > 0,
            F("decided_kinds").length() > 0,
            *dragged,
        ]
    )


def _or_blank(field: str) -> Any:
    """The field's value in the database, or the empty string."""
    from fiftyone import ViewExpression

    return ViewExpression({"$ifNull": [f"${field}", ""]})


class _Reader:
    def __init__(self, review_set: Any, keys: list[str], who: str, decisions: Decisions) -> None:
        self.classes, self.class_names = set(memory(review_set).classes), memory(review_set).class_names
        self.keys, self.label = keys, field_of(review_set, "ground_truth")
        self.who = who
        self.when = now()
        self.decisions = decisions
        self.judged: dict[str, str | None] = {}
        """New values of `JUDGED_PLACE` by sample id."""

    def read(self, sample: dict[str, Any], known: set[str]) -> set[str]:
        """Append the sample's corrections and problems, and return the kinds read; `known` were read before."""
        if sample["record_id"] is None:
            self.decisions.problems.append(
                f"{sample['filepath']}: is not in the dataset. Add it to the files that the card names."
            )
            return set()
        before = len(self.decisions.corrections)
        self._read_mark(sample)
        self._read_label(sample, known)
        self._read_rectangle(sample, known)
        self._read_place(sample, known)
        excluded = sample["review"] == "exclude" or "exclude" in decisions_of(sample["tags"])
        if excluded or "exclude" in known:
            self._add(sample, "exclude", "false", "true" if excluded else "false")
        return {c.kind for c in self.decisions.corrections[before:]}

    def read_class_names(self) -> None:
        """Append a correction for each class that was renamed or merged, or is no longer."""
        for filed, present in self.class_names.items():
            self.decisions.corrections.append(
                Correction(filed, "class", filed, present, self.who, self.when, self.keys[0])
            )

    def _read_mark(self, sample: dict[str, Any]) -> None:
        mark = sample["review"]
        if mark in DECISIONS:
            self.decisions.marks[mark] += 1
        elif mark:
            self._add_problem(sample, f"review is {mark!r}, expected one of: {', '.join(DECISIONS)}.")

    def _read_label(self, sample: dict[str, Any], known: set[str]) -> None:
        label, original = sample[LABEL] or "", sample["original_label"] or ""
        if label == original and "label" not in known:
            return
        if label not in self.classes and (label or original):
            self._add_problem(
                sample,
                f"label {label or None!r} is not a class of the dataset."
                f" Correct it in {self.label}, or give it by the key l as a new class.",
            )
            return
        filed = (earlier_name(self.class_names, name) for name in (original, label))
        self._add(sample, "label", *filed)

    def _read_rectangle(self, sample: dict[str, Any], known: set[str]) -> None:
        boxes = sample["attention_target.detections"] or []
        for key in self.keys:
            boxes = boxes or [d for d in sample.get(f"{key}_attention.detections") or [] if _is_edited(d)]
        if len(boxes) > 1:
            self._add_problem(sample, f"has {len(boxes)} boxes instead of one. Delete the others.")
        elif boxes:
            try:
                rectangle = rectangle_of(boxes[0], sample[WIDTH], sample[HEIGHT])
            except (ValueError, TypeError) as error:
                self._add_problem(sample, f"the drawn box cannot be read: {error}. Draw it again.")
                return
            if not is_on_image(rectangle, sample[WIDTH], sample[HEIGHT]):
                self._add_problem(sample, "the box is off the image. Draw it again in attention_target.")
            else:
                self._add(sample, "rectangle", "", json.dumps([round(v, 4) for v in rectangle]))
        elif "rectangle" in known:
            self._add(sample, "rectangle", "", "")

    def _read_place(self, sample: dict[str, Any], known: set[str]) -> None:
        is_right = VERDICTS.get(sample["review"])
        judged = stored = sample[JUDGED_PLACE] or ""
        if is_right is None:
            judged = ""
        elif not stored or parse_place(stored, sample["record_id"])[0] is not is_right:
            shown = self._shown_rectangle(sample)
            judged = place_text(is_right, shown) if shown else ""
        if judged or "place" in known:
            self._add(sample, "place", "", judged)
        if judged != stored:
            self.judged[sample["id"]] = judged or None

    def _shown_rectangle(self, sample: dict[str, Any]) -> Rectangle | None:
        """The rectangle of the run, the one found again before the model's; None if it has none or the reviewer moved
        it."""
        found_again = sample.get(f"{self.keys[0]}_{LOCATED}.detections")
        detections = found_again or sample.get(f"{self.keys[0]}_attention.detections") or []
        if len(detections) != 1 or _is_edited(detections[0]):
            return None
        try:
            return rectangle_of(detections[0], sample[WIDTH], sample[HEIGHT])
        except (ValueError, TypeError):
            return None

    def _add_problem(self, sample: dict[str, Any], text: str) -> None:
        self.decisions.problems.append(f"{sample['record_id']}: {text}")

    def _add(self, sample: dict[str, Any], kind: Kind, before: str, after: str) -> None:
        correction = Correction(sample["record_id"], kind, before, after, self.who, self.when, self.keys[0])
        self.decisions.corrections.append(correction)


def _is_edited(detection: Any) -> bool:
    return moved(detection.bounding_box, detection["model_box"] if detection.has_field("model_box") else None)
