"""Marks: a decision put on samples in one go, with a short history of who, when and what was there before."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rsam_app.review.dataset.schema import DECISIONS
from rsam_app.review.dataset.targets import adopt_accepted
from rsam_app.system.errors import UserError

STORE = "rsam_marks"
KEPT = 100
"""How many marks can be undone, the latest first."""
MOST = 5000
"""Samples in one mark: its history is one document of the database."""
SPEAKING_TAGS = ("accept", "exclude")
"""Tags that `rsam apply` reads like a mark of the same name; another mark takes them off."""


@dataclass(frozen=True)
class Marked:
    """What `mark` or `undo` did."""

    mark: str
    ids: list[str]
    """Samples that carry the mark now, or again what they carried before."""
    left: list[str] = field(default_factory=list)
    """Record ids that were not changed: nothing to accept; or changed by somebody since, and therefore not undone."""


def mark(
    review_set: Any,
    sample_ids: Sequence[str],
    decision: str,
    key: str,
    who: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Marked:
    """Set `review` of these samples to `decision`, one of `DECISIONS`, as `decisions.read_decisions` reads it, and
    `ground_truth` of those that `labels` names by sample id; one that had no label until then is marked 'labelled'.

    'accept' makes the rectangle of the run `key` the sample's target at once, unless a person drew one; where the run
    shows none the sample stays as it was and is named. Any mark takes off the tags that say otherwise ('accept',
    'exclude') and a target that was only accepted. Raises `UserError` for another word or too many samples.
    """
    if decision not in DECISIONS:
        raise UserError(f"mark {decision!r}: expected one of {', '.join(DECISIONS)}.")
    if len(sample_ids) > MOST:
        raise UserError(f"mark: {len(sample_ids):,} images are selected, at most {MOST:,} are marked in one go.")
    chosen = review_set.select(list(sample_ids))
    before = _states(chosen, bool(labels))
    first = {i for i in labels or {} if before[i]["label"] is None}
    _write(review_set, {i: "labelled" if i in first else decision for i in before})
    if labels:
        _relabel(review_set, {i: before[i]["label"] for i in labels}, labels)
    contradicting = [tag for tag in SPEAKING_TAGS if tag != decision]
    if dropped := [i for i, state in before.items() if set(state["tags"]) & set(contradicting)]:
        review_set.select(dropped).untag_samples(contradicting)
    left = adopt_accepted(chosen, key)
    if left:
        _restore(review_set, {i: s for i, s in before.items() if s["record_id"] in left})
    after = _states(chosen, bool(labels))
    changed = {i: [before[i], after[i]] for i in before if before[i] != after[i]}
    if changed:
        entry = {"mark": decision, "who": who or getpass.getuser(), "when": time.time(), "samples": changed}
        _remember(review_set, entry)
    return Marked(
        "labelled" if len(first) == len(before) else decision,
        [i for i, state in before.items() if state["record_id"] not in left],
        left,
    )


def undo(review_set: Any, who: str | None = None) -> Marked:
    """Take back the last mark that `who` made: `review`, the tags it took off, the target and a label that was taken
    with it are as they were before.

    What somebody changed since is left as it is and named. Raises `UserError` where there is nothing to undo.
    """
    name, store = who or getpass.getuser(), _store(review_set)
    for entry_key in reversed(sorted(store.list_keys())):
        entry = store.get(entry_key)
        if entry is None or entry["who"] != name or not store.delete(entry_key):  # another process was quicker
            continue
        labelled = any("label" in pair[1] for pair in entry["samples"].values())
        now = _states(review_set.select(list(entry["samples"])), labelled)
        as_left = {i: pair for i, pair in entry["samples"].items() if i in now and now[i] == pair[1]}
        _restore(review_set, {i: pair[0] for i, pair in as_left.items()})
        left = [pair[1]["record_id"] or i for i, pair in entry["samples"].items() if i not in as_left]
        return Marked(entry["mark"], list(as_left), left)
    raise UserError("undo: no mark of yours is left to take back. Set `review` by hand where it should be otherwise.")


def _states(samples: Any, labels: bool) -> dict[str, dict[str, Any]]:
    """By sample id all that a mark may change, as plain values; the label only where `labels` were set with it, so that
    one she corrects between a mark and its undoing is left alone."""
    found = samples.values(["id", "record_id", "review", "tags", "attention_target"])
    states = {}
    for sample_id, record_id, review, tags, target in zip(*found, strict=True):
        spoken = [tag for tag in SPEAKING_TAGS if tag in (tags or [])]
        shown = target.to_dict() if target is not None else None
        states[sample_id] = {"record_id": record_id, "review": review, "tags": spoken, "target": shown}
    if labels:
        for sample_id, label in zip(*samples.values(["id", "ground_truth"]), strict=True):
            states[sample_id]["label"] = label.to_dict() if label is not None else None
    return states


def _relabel(review_set: Any, held: Mapping[str, dict[str, Any] | None], labels: Mapping[str, str]) -> None:
    """Give `ground_truth` another class; its id, tags and other attributes stay."""
    import fiftyone as fo

    values = {}
    for sample_id, label in labels.items():
        shown = held[sample_id]
        values[sample_id] = fo.Classification() if shown is None else fo.Classification.from_dict(shown)
        values[sample_id].label = label
    _set(review_set, "ground_truth", values)


def _restore(review_set: Any, states: dict[str, dict[str, Any]]) -> None:
    import fiftyone as fo

    if not states:
        return
    _write(review_set, {i: state["review"] for i, state in states.items()})
    _set(
        review_set,
        "attention_target",
        {i: s["target"] and fo.Detections.from_dict(s["target"]) for i, s in states.items()},
    )
    labels = {i: s["label"] and fo.Classification.from_dict(s["label"]) for i, s in states.items() if "label" in s}
    if labels:
        _set(review_set, "ground_truth", labels)
    for tag in SPEAKING_TAGS:
        for wanted, change in ((True, "tag_samples"), (False, "untag_samples")):
            ids = [i for i, state in states.items() if (tag in state["tags"]) is wanted]
            if ids:
                getattr(review_set.select(ids), change)(tag)


def _write(review_set: Any, marks: dict[str, str | None]) -> None:
    _set(review_set, "review", marks)


def _set(review_set: Any, field: str, values: dict[str, Any]) -> None:
    review_set.set_values(field, values, key_field="id", validate=False, expand_schema=False)


def _store(review_set: Any) -> Any:
    from fiftyone.operators.store import ExecutionStore

    return ExecutionStore.create(STORE, review_set._doc.id)


def _remember(review_set: Any, entry: dict[str, Any]) -> None:
    store = _store(review_set)
    store.set(f"{time.time_ns():020d}", entry)
    for old in sorted(store.list_keys())[:-KEPT]:
        store.delete(old)
