"""The review dataset: one FiftyOne dataset per card, with its fields and RSAM's own entry in its `info`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from rsam_app.data.records import Dataset
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.fiftyone_internals import declare_fields
from rsam_app.review.dataset.guest import MEMORY, field_of, is_guest
from rsam_app.review.dataset.memory import Memory
from rsam_app.run.folder import LABELLING
from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.connection import import_fiftyone
from rsam_app.system.versions import REVIEW_DATASET

DECISIONS = ("right", "accept", "wrong place", "wrong label", "unsure", "exclude", "labelled")
"""Values of the `review` field: the rectangle is right; it is right and becomes a training target; it is in the wrong
place; the label is wrong; undecided; the image is to be left out; the image had no label and was given one."""

FIELDS = (
    "record_id",
    "split",
    "ground_truth",
    "original_label",
    "ground_truth_boxes",
    "attention_target",
    "review",
    "decided_kinds",
)
"""Fields of every sample that do not depend on a run."""

JUDGED_PLACE = "judged_place"
"""Field with the answer of the mark 'right' or 'wrong place' and the rectangle that it was about, as in the corrections
table. Datasets of earlier versions lack it."""
PLACE_OF = "the rectangle that 'right' or 'wrong place' is about"
"""Description of `JUDGED_PLACE` in the App."""


def create_or_open(dataset: Dataset, new: Sequence[str] = (), host: Any = None) -> Any:
    """Return the persistent FiftyOne dataset of `dataset`, or the user's one that was entered (`host`), with the fields
    that do not depend on a run.

    Its classes are those of `dataset`, then those that reviewers added, in the App or in the corrections (`new`).
    Raises `UserError` if the name belongs to a FiftyOne dataset that RSAM did not create.
    """
    fo = import_fiftyone()
    if host is not None:
        review_set = host
    elif fo.dataset_exists(dataset.name):
        review_set = _load(fo, dataset.name)
    else:
        review_set = _create(fo, dataset.name)
    if host is None and not review_set.persistent:  # the process that created it was killed
        review_set.persistent = True
    if deleted := _missing_fields(review_set):
        _declare(review_set)
        if {field_of(review_set, "split"), "original_label", "ground_truth_boxes"} & {*deleted}:
            remember(review_set, records=None)  # the samples follow the files again
    if host is None and review_set.info.get("licence") != dataset.licence:
        review_set.info["licence"] = dataset.licence
        review_set.save()
    set_classes(review_set, dataset.classes, [*memory(review_set).new_classes, *new])
    return review_set


def set_classes(review_set: Any, of_card: Sequence[str], new: Sequence[str]) -> None:
    """Make the dataset's classes those of the card, then the new ones that the card lacks."""
    known = memory(review_set)
    added = [name for name in dict.fromkeys(new) if name not in of_card]
    classes = [*of_card, *added]
    if known.classes != classes or known.new_classes != added:
        review_set.classes = {**review_set.classes, field_of(review_set, "ground_truth"): classes}
        remember(review_set, classes=classes, **({"new_classes": added} if added or known.new_classes else {}))


def _create(fo: Any, name: str) -> Any:
    """Create a dataset under a passing name, which RSAM's entry precedes: if the process is killed, nothing with this
    name lacks the entry. FiftyOne removes what is not persistent."""
    review_set = fo.Dataset()
    review_set.media_type = "image"
    review_set.info[MEMORY] = {"format": REVIEW_DATASET}
    review_set.save()
    try:
        review_set.name = name
    except ValueError as error:  # another name with the same slug: 'my.birds' and 'my-birds'
        review_set.delete()
        raise UserError(f"dataset {name!r}: FiftyOne refuses the name ({error}). Rename the card.") from error
    return review_set


def open_review(name: str) -> Any:
    """Return the FiftyOne dataset that `rsam review` wrote for the card `name`, as the database has it now.

    Raises `UserError` if there is none, if RSAM did not create it, or if one of RSAM's fields was deleted.
    """
    fo = import_fiftyone()
    if not fo.dataset_exists(name):
        known = [n for n in fo.list_datasets() if MEMORY in fo.load_dataset(n).info]
        raise UserError(
            f"FiftyOne has no dataset {name!r} (RSAM's datasets: {', '.join(known) or 'none'})."
            " Run `rsam review RUN` first."
        )
    review_set = _load(fo, name)
    if deleted := _missing_fields(review_set):
        raise UserError(
            f"FiftyOne dataset {name!r}: the fields {', '.join(deleted)} were deleted.\n"
            "Run `rsam review RUN`, which adds them again; what the reviewer stored in them is lost."
        )
    return review_set


def _load(fo: Any, name: str) -> Any:
    review_set = fo.load_dataset(name)
    review_set.reload()  # this process may have an older copy
    if MEMORY not in review_set.info:
        raise UserError(
            f"FiftyOne already has a dataset {name!r} that RSAM did not create; it is unchanged.\n"
            "Rename the card, or rename that dataset in FiftyOne."
        )
    return review_set


def memory(review_set: Any) -> Memory:
    """Return RSAM's entry in the dataset's `info`. Raises `UserError` if it has another format."""
    try:
        return Memory.model_validate(review_set.info.get(MEMORY, {}))
    except ValidationError as error:
        raise UserError(
            f"FiftyOne dataset {review_set.name!r}: info[{MEMORY!r}] was edited, or another RSAM version wrote it"
            f" ({error.errors()[0]['msg']}).\nUse that version, or delete the dataset after `rsam apply`."
        ) from error


def remember(review_set: Any, **values: Any) -> None:
    """Replace some values of RSAM's entry; the others stay as the database has them now."""
    if unknown := values.keys() - Memory.model_fields.keys():
        raise TypeError(f"unknown values: {', '.join(sorted(unknown))}")
    review_set.reload()
    entry = Memory.model_validate({**review_set.info.get(MEMORY, {}), **values})
    review_set.info[MEMORY] = entry.model_dump(exclude_unset=True)
    review_set.save()


def card_of(review_set: Any) -> str:
    """Return the name of the card whose records the samples show."""
    guest = memory(review_set).guest
    return guest.card if guest else str(review_set.name)


def run_keys(review_set: Any) -> list[str]:
    """Return the keys of the runs in the dataset, the latest first."""
    return list(reversed(memory(review_set).runs))


def field_keys(review_set: Any) -> list[str]:
    """Return the prefixes of fields: the keys of the runs, the latest first, then `LABELLING` if `rsam label` uses the
    dataset."""
    return [*run_keys(review_set), *([LABELLING] if memory(review_set).labelling else [])]


def check_key(key: str) -> str:
    """Return `key` if it can be the prefix of a run's fields. Raises `UserError` otherwise."""
    if key == LABELLING:
        raise UserError(f"review key {key!r}: is that of `rsam label`. Set another review.key.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
        raise UserError(
            f"review key {key!r}: must be a letter, then letters, digits or underscores. Set another review.key."
        )
    return key


def add_fields(review_set: Any, fields: Mapping[str, Mapping[str, Any]]) -> None:
    """Declare fields unless they exist; `fields` maps names to arguments of FiftyOne's `add_sample_field`. Raises
    `UserError` if one exists with another type."""
    try:
        declare_fields(review_set, fields)
    except ValueError as error:
        raise UserError(
            f"FiftyOne dataset {review_set.name!r}: {error}: it exists with another type.\n"
            "Rename that field in FiftyOne, or set another review.key."
        ) from error


def add_field(review_set: Any, name: str, kind: Any, **details: Any) -> None:
    """Declare a field unless it exists. Raises `UserError` if it exists with another type."""
    add_fields(review_set, {name: {"ftype": kind, **details}})


def _missing_fields(review_set: Any) -> list[str]:
    """RSAM's fields that do not depend on a run and that the dataset lacks."""
    names = (field_of(review_set, name) for name in FIELDS)
    return [name for name in names if not review_set.has_sample_field(name)]


def declare_judged_place(review_set: Any) -> None:
    """Add the field `JUDGED_PLACE` unless it exists."""
    import fiftyone as fo

    add_field(review_set, JUDGED_PLACE, fo.StringField, description=PLACE_OF)


def _declare(review_set: Any) -> None:
    import fiftyone as fo

    text, number = {"ftype": fo.StringField}, {"ftype": fo.FloatField}
    boxes = {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.Detections}
    four_numbers = {"ftype": fo.ListField, "subfield": fo.FloatField}
    fields: dict[str, dict[str, Any]] = {
        "record_id": {**text, "description": "the image's path below the dataset's root"},
        field_of(review_set, "split"): text,
        field_of(review_set, "ground_truth"): {
            "ftype": fo.EmbeddedDocumentField,
            "embedded_doc_type": fo.Classification,
        },
        "original_label": {**text, "description": "the label in the dataset's files"},
        "ground_truth_boxes": boxes,
        "ground_truth_boxes.detections.original_box": four_numbers,
        "attention_target": boxes,
        **{f"attention_target.detections.{name}": number for name in RECTANGLE_FIELDS},
        "attention_target.detections.accepted_from": text,
        "attention_target.detections.model_box": four_numbers,
        JUDGED_PLACE: {**text, "description": PLACE_OF},
        "review": {**text, "description": f"one of: {', '.join(DECISIONS)}"},
    }
    if is_guest(review_set):  # samples of the user's need not have a size
        size = {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.ImageMetadata}
        fields[field_of(review_set, "metadata")] = {**size, "description": "width and height of the image"}
    add_fields(review_set, fields)
    # Unique, so that two processes cannot add a record twice; partial, so that reviewers can add images themselves.
    only_records = {"record_id": {"$type": "string"}}
    review_set.create_index("record_id", unique=True, partialFilterExpression=only_records)
    add_field(  # the last: without it `create_or_open` declares all again
        review_set,
        "decided_kinds",
        fo.ListField,
        subfield=fo.StringField,
        description="kinds of decision that `rsam apply` read from the sample, to detect withdrawn ones",
    )
