"""Marks: a decision on many samples at once, with a short history to undo it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rsam_app.review.dataset.class_list import forget_unused_classes
from rsam_app.review.dataset.decision_tags import DECISION_TAGS, decision_of, decisions_of, spellings
from rsam_app.review.dataset.fiftyone_internals import dataset_id
from rsam_app.review.dataset.guest import field_of
from rsam_app.review.dataset.schema import DECISIONS
from rsam_app.review.dataset.targets import adopt_accepted
from rsam_app.review.decisions.reviewer import reviewer_name
from rsam_app.system.errors import UserError

STORE = "rsam_marks"
"""FiftyOne's execution store with the history."""
HISTORY_LENGTH = 100
"""Marks that can be undone, the latest first."""
MAX_SAMPLES = 5000
"""Samples in one mark: its history is one document of the database."""

State = dict[str, Any]
"""All that a mark may change on a sample, as plain values: `record_id, review, tags, target`, and `label` if the mark
set one."""


@dataclass(frozen=True)
class MarkResult:
    """Result of `mark` or `undo`."""

    mark: str
    ids: list[str]
    """Samples that have the mark now, or again what they had before."""
    left: list[str] = field(default_factory=list)
    """Record ids left unchanged: without a rectangle to accept, or changed since and therefore not undone."""


def mark(
    review_set: Any,
    sample_ids: Sequence[str],
    decision: str,
    key: str,
    who: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> MarkResult:
    """Set `review` of these samples to `decision`, one of `DECISIONS`, and `ground_truth` to the `labels` by sample id;
    a sample without a label is then marked 'labelled'.

    'accept' makes the rectangle of the run `key` the sample's target at once, unless the reviewer drew one; a sample
    without a rectangle stays as it was and is named in the result. A mark removes contradicting tags ('accept',
    'exclude') and a target that was only accepted. Raises `UserError` for another word or too many samples.
    """
    if decision not in DECISIONS:
        raise UserError(f"mark {decision!r}: expected one of {', '.join(DECISIONS)}.")
    if len(sample_ids) > MAX_SAMPLES:
        raise UserError(f"mark: {len(sample_ids):,} images are selected; mark at most {MAX_SAMPLES:,} at once.")
    samples = review_set.select(list(sample_ids))
    before = _states(samples, bool(labels))
    labels = {i: label for i, label in (labels or {}).items() if i in before}  # others were deleted
    unlabelled = {i for i in labels if before[i]["label"] is None or before[i]["review"] == "labelled"}
    set_by_id(review_set, "review", {i: "labelled" if i in unlabelled else decision for i in before})
    if labels:
        _relabel(review_set, {i: before[i]["label"] for i in labels}, labels)
    contradicting = [tag for tag in DECISION_TAGS if tag != decision]
    if tagged := [i for i, state in before.items() if decisions_of(state["tags"]) & set(contradicting)]:
        review_set.select(tagged).untag_samples(spellings(review_set.select(tagged), contradicting))
    left = adopt_accepted(samples, key)
    if left:
        _restore(review_set, {i: state for i, state in before.items() if state["record_id"] in left})
    after = _states(samples, bool(labels))
    shown = "labelled" if unlabelled and len(unlabelled) == len(before) else decision
    if changed := {i: [before[i], after[i]] for i in before if before[i] != after[i]}:
        entry = {"mark": shown, "who": reviewer_name(who), "when": time.time(), "samples": changed}
        _add_to_history(review_set, entry)
    return MarkResult(shown, [i for i, state in before.items() if state["record_id"] not in left], left)


def undo(review_set: Any, who: str | None = None) -> MarkResult:
    """Undo the last mark by `who`: restore `review`, removed tags, the target, and a label set with the mark. A new
    class that no image has any more is forgotten.

    Samples changed since are left as they are and named in the result. Raises `UserError` if nothing is left to undo.
    """
    name, store = reviewer_name(who), _store(review_set)
    for entry_key in reversed(sorted(store.list_keys())):
        entry = store.get(entry_key)
        if entry is None or entry["who"] != name or not store.delete(entry_key):  # another process was quicker
            continue
        samples = entry["samples"]
        labelled = any("label" in after for _, after in samples.values())
        current = _states(review_set.select(list(samples)), labelled)
        unchanged = {i: before for i, (before, after) in samples.items() if current.get(i) == after}
        _restore(review_set, unchanged)
        if labelled:
            forget_unused_classes(review_set)
        left = [after["record_id"] or i for i, (_, after) in samples.items() if i not in unchanged]
        return MarkResult(entry["mark"], list(unchanged), left)
    raise UserError("undo: no mark of yours is left to undo. Edit `review` by hand to change it.")


def unmark(review_set: Any, sample_ids: Sequence[str], decision: str) -> None:
    """Remove the mark and the tag of this name, outside the history."""
    from fiftyone import ViewField as F

    if not sample_ids:
        return
    samples = review_set.select(sample_ids)
    set_by_id(review_set, "review", dict.fromkeys(samples.match(F("review") == decision).values("id")))
    if tags := spellings(samples, [decision]):
        samples.match_tags(tags).untag_samples(tags)


def set_by_id(review_set: Any, field: str, values: Mapping[str, Any]) -> None:
    """Set a field of samples by their ids."""
    if values:
        review_set.set_values(field, values, key_field="id", validate=False, expand_schema=False)


def forget_history(review_set: Any) -> None:
    """Delete the history: no mark can be undone afterwards."""
    _store(review_set).clear()


def _states(samples: Any, with_labels: bool) -> dict[str, State]:
    """By sample id its state. Without `with_labels`, a label edited between a mark and its undo is not compared."""
    states = {}
    columns = samples.values(["id", "record_id", "review", "tags", "attention_target"])
    for sample_id, record_id, review, tags, target in zip(*columns, strict=True):
        decision_tags = sorted(tag for tag in tags or () if decision_of(tag))
        states[sample_id] = {"record_id": record_id, "review": review, "tags": decision_tags, "target": _plain(target)}
    if with_labels:
        for sample_id, label in zip(*samples.values(["id", field_of(samples, "ground_truth")]), strict=True):
            states[sample_id]["label"] = _plain(label)
    return states


def _plain(value: Any) -> dict[str, Any] | None:
    return None if value is None else value.to_dict()


def _relabel(review_set: Any, before: Mapping[str, dict[str, Any] | None], labels: Mapping[str, str]) -> None:
    """Set the class in `ground_truth`; its id, tags and other attributes stay."""
    import fiftyone as fo

    values = {}
    for sample_id, label in labels.items():
        old = before[sample_id]
        values[sample_id] = fo.Classification() if old is None else fo.Classification.from_dict(old)
        values[sample_id].label = label
    set_by_id(review_set, field_of(review_set, "ground_truth"), values)


def _restore(review_set: Any, states: Mapping[str, State]) -> None:
    import fiftyone as fo

    def parsed(kind: Any, name: str) -> dict[str, Any]:
        return {i: state[name] and kind.from_dict(state[name]) for i, state in states.items() if name in state}

    set_by_id(review_set, "review", {i: state["review"] for i, state in states.items()})
    set_by_id(review_set, "attention_target", parsed(fo.Detections, "target"))
    set_by_id(review_set, field_of(review_set, "ground_truth"), parsed(fo.Classification, "label"))
    present = spellings(review_set.select(list(states)), DECISION_TAGS) if states else []
    for tag in {*present, *(tag for state in states.values() for tag in state["tags"])}:
        if tagged := _ids(states, tag, True):
            review_set.select(tagged).tag_samples(tag)
        if untagged := _ids(states, tag, False):
            review_set.select(untagged).untag_samples(tag)


def _ids(states: Mapping[str, State], tag: str, tagged: bool) -> list[str]:
    return [i for i, state in states.items() if (tag in state["tags"]) is tagged]


def _store(review_set: Any) -> Any:
    from fiftyone.operators.store import ExecutionStore

    return ExecutionStore.create(STORE, dataset_id(review_set))


def _add_to_history(review_set: Any, entry: dict[str, Any]) -> None:
    store = _store(review_set)
    store.set(f"{time.time_ns():020d}", entry)
    for old in sorted(store.list_keys())[:-HISTORY_LENGTH]:
        store.delete(old)
