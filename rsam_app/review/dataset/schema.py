"""The review dataset: one FiftyOne dataset per card, its own fields, and what RSAM remembers in it."""

from __future__ import annotations

import re
from typing import Any

from rsam_app.data.records import Dataset
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.connection import import_fiftyone
from rsam_app.system.versions import REVIEW_DATASET

DECISIONS = ("right", "accept", "wrong place", "wrong label", "unsure", "exclude", "labelled")
"""What the `review` field may say about a sample: the model looked at the right place; the same, and its rectangle
shall be taught; it looked at the wrong place; the label is wrong; undecided; leave the image out; it had no label and
was given one."""

MEMORY = "rsam"


def create_or_open(dataset: Dataset) -> Any:
    """The FiftyOne dataset of `dataset`, persistent, with the fields that do not depend on a run.

    Raises `UserError` where the name belongs to a FiftyOne dataset that RSAM did not write.
    """
    fo = import_fiftyone()
    if fo.dataset_exists(dataset.name):
        review_set = open_review(dataset.name)
    else:
        try:
            review_set = fo.Dataset(dataset.name, persistent=True)
        except ValueError as error:  # another name with the same slug: 'my.birds' and 'my-birds'
            raise UserError(
                f"dataset {dataset.name!r}: FiftyOne refuses the name ({error}). Rename the card."
            ) from error
        review_set.info[MEMORY] = {"format": REVIEW_DATASET}
        review_set.save()
    _declare(review_set)
    if memory(review_set).get("classes") != list(dataset.classes):
        review_set.classes = {**review_set.classes, "ground_truth": list(dataset.classes)}
        review_set.info["licence"] = dataset.licence
        remember(review_set, classes=list(dataset.classes))
    return review_set


def open_review(name: str) -> Any:
    """The FiftyOne dataset that `rsam review` wrote for the card `name`, as the database has it now.

    Raises `UserError` where there is none, or where it is not RSAM's.
    """
    fo = import_fiftyone()
    if not fo.dataset_exists(name):
        known = [n for n in fo.list_datasets() if MEMORY in fo.load_dataset(n).info]
        raise UserError(
            f"FiftyOne has no dataset {name!r} (of RSAM's: {', '.join(known) or 'none'}). Run `rsam review RUN` first."
        )
    review_set = fo.load_dataset(name)
    review_set.reload()  # the same process may hold an older copy
    if MEMORY not in review_set.info:
        raise UserError(
            f"FiftyOne already has a dataset {name!r} that RSAM did not write; it is left alone.\n"
            "Rename the card, or rename that dataset in FiftyOne."
        )
    return review_set


def memory(review_set: Any) -> dict[str, Any]:
    """What RSAM remembers in the dataset: `format, classes, records, runs, views, appearance`."""
    found: dict[str, Any] = review_set.info.get(MEMORY, {})
    return found


def remember(review_set: Any, **values: Any) -> None:
    """Replace some of what RSAM remembers, next to what another process may have stored meanwhile."""
    review_set.reload()
    review_set.info[MEMORY] = {**memory(review_set), **values}
    review_set.save()


def run_keys(review_set: Any) -> list[str]:
    """Keys of the runs written into the dataset, the latest first."""
    return list(reversed(memory(review_set).get("runs", {})))


def check_key(key: str) -> str:
    """`key` if it can prefix a field. Raises `UserError` otherwise."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
        raise UserError(f"review key {key!r}: a letter, then letters, digits or underscores. Set review.key otherwise.")
    return key


def add_field(review_set: Any, name: str, kind: Any, **details: Any) -> None:
    """Declare a field where it is missing. Raises `UserError` where the person has one of another type."""
    try:
        review_set.add_sample_field(name, kind, **details)
    except ValueError as error:
        raise UserError(
            f"FiftyOne dataset {review_set.name!r}: field {name!r} exists with another type ({error}).\n"
            "Rename that field in FiftyOne, or give the run another review.key."
        ) from error


def _declare(review_set: Any) -> None:
    import fiftyone as fo

    if review_set.has_sample_field("decided_kinds"):
        return
    label = fo.EmbeddedDocumentField
    add_field(review_set, "record_id", fo.StringField, description="the image's path below the dataset's root")
    add_field(review_set, "split", fo.StringField)
    add_field(review_set, "ground_truth", label, embedded_doc_type=fo.Classification)
    add_field(review_set, "original_label", fo.StringField, description="the label as the files have it")
    add_field(review_set, "ground_truth_boxes", label, embedded_doc_type=fo.Detections)
    add_field(review_set, "ground_truth_boxes.detections.original_box", fo.ListField, subfield=fo.FloatField)
    add_field(review_set, "attention_target", label, embedded_doc_type=fo.Detections)
    for name in RECTANGLE_FIELDS:
        add_field(review_set, f"attention_target.detections.{name}", fo.FloatField)
    add_field(review_set, "attention_target.detections.accepted_from", fo.StringField)
    add_field(review_set, "attention_target.detections.model_box", fo.ListField, subfield=fo.FloatField)
    add_field(review_set, "review", fo.StringField, description=f"one of: {', '.join(DECISIONS)}")
    # Unique, so that two writers at once cannot add a record twice; only where set, so that she may add images herself.
    only_ours = {"record_id": {"$type": "string"}}
    review_set.create_index("record_id", unique=True, partialFilterExpression=only_ours)
    add_field(
        review_set,
        "decided_kinds",
        fo.ListField,
        subfield=fo.StringField,
        description="kinds of decision that `rsam apply` has read from the sample, so that taking one back is noticed",
    )
