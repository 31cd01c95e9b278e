"""`rsam review RUN --write-back KIND=FIELD`: decisions in fields of the user's, which stay when RSAM leaves."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rsam_app.review.dataset.decision_tags import decision_of
from rsam_app.review.dataset.enter import is_ours
from rsam_app.review.dataset.guest import is_guest, label_path
from rsam_app.review.dataset.schema import add_field, memory, open_review, remember
from rsam_app.review.decisions.marks import set_by_id
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class WrittenBack:
    """Result of `write_back`: by field, the number of samples with a decision."""

    dataset: str
    fields: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the values for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """Return the lines for the user."""
        return "\n".join(f"FiftyOne dataset {self.dataset!r}: {n} samples in {f}" for f, n in self.fields.items())


def write_back(name: str, wanted: Sequence[str]) -> WrittenBack:
    """Write decisions in the user's dataset `name` into fields that the user names, each as `KIND=FIELD`.

    - `labels`: the label of each sample whose label the reviewer changed, into a Classification or text field, whose
      other values stay.
    - `targets`: the drawn and accepted rectangles, as Detections.
    - `tags`: the mark, and the tags that RSAM gave, as a list of words.

    Only `labels` may name a field that exists, unless an earlier call made it. Raises `UserError`, before anything is
    written, for another kind or field, or if RSAM is not a guest in the dataset.
    """
    review_set = open_review(name)
    if not is_guest(review_set):
        raise UserError(f"FiftyOne dataset {name!r}: RSAM created it, and there is nothing to write back to.")
    pairs = [_parse(review_set, text) for text in wanted]
    counts = {}
    for kind, field in pairs:
        values = WRITERS[kind](review_set, field)
        guest = memory(review_set).guest
        if kind != "labels" and guest and field not in guest.written_back:
            changed = guest.model_copy(update={"written_back": [*guest.written_back, field]})
            remember(review_set, guest=changed.model_dump())
        set_by_id(review_set, field, values)
        counts[field] = sum(value is not None for value in values.values())
    return WrittenBack(name, counts)


def _parse(review_set: Any, text: str) -> tuple[str, str]:
    kind, _, field = text.partition("=")
    guest = memory(review_set).guest
    if kind not in WRITERS or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", field):
        raise UserError(f"--write-back {text}: expected one of {', '.join(f'{k}=FIELD' for k in WRITERS)}.")
    if is_ours(review_set, field):
        raise UserError(f"--write-back {text}: {field} is RSAM's own field. Name one of yours, or a new one.")
    if review_set.has_sample_field(field) and kind != "labels" and guest and field not in guest.written_back:
        raise UserError(f"--write-back {text}: your field {field!r} exists and stays as it is. Name a new one.")
    if kind == "labels" and review_set.has_sample_field(field) and _kind(review_set, field) is None:
        raise UserError(f"--write-back {text}: {field!r} is neither a Classification nor text. Name another field.")
    return kind, field


def _kind(review_set: Any, field: str) -> str | None:
    """`text` or `Classification`; None for another field."""
    import fiftyone as fo

    declared = review_set.get_field(field)
    if isinstance(declared, fo.StringField):
        return "text"
    is_label = isinstance(declared, fo.EmbeddedDocumentField) and declared.document_type is fo.Classification
    return "Classification" if is_label else None


def _labels(review_set: Any, field: str) -> dict[str, Any]:
    """The labels by sample id that differ from those in the dataset's files."""
    import fiftyone as fo

    add_missing = not review_set.has_sample_field(field)
    if add_missing:
        add_field(review_set, field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    rows = review_set.exists("record_id").values(["id", label_path(review_set), "original_label", field])
    changed = {i: (label, old) for i, label, original, old in zip(*rows, strict=True) if (label or "") != original}
    if _kind(review_set, field) == "text":
        return {i: label for i, (label, _) in changed.items()}
    return {i: _relabelled(fo, label, old) for i, (label, old) in changed.items()}


def _relabelled(fo: Any, label: str | None, old: Any) -> Any:
    """A Classification with another class; its id, tags and other attributes stay."""
    if not label:
        return None
    new = old.copy() if old is not None else fo.Classification()
    new.label = label
    return new


def _targets(review_set: Any, field: str) -> dict[str, Any]:
    import fiftyone as fo

    add_field(review_set, field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    return dict(zip(*review_set.exists("record_id").values(["id", "attention_target"]), strict=True))


def _tags(review_set: Any, field: str) -> dict[str, Any]:
    import fiftyone as fo

    add_field(review_set, field, fo.ListField, subfield=fo.StringField)
    guest = memory(review_set).guest
    known = set(guest.tags if guest else ())
    words = {}
    for sample_id, mark, tags in zip(*review_set.exists("record_id").values(["id", "review", "tags"]), strict=True):
        given = [decision_of(tag) or tag for tag in tags if tag in known or decision_of(tag)]
        words[sample_id] = list(dict.fromkeys([*([mark] if mark else []), *given])) or None
    return words


WRITERS: dict[str, Callable[[Any, str], dict[str, Any]]] = {"labels": _labels, "targets": _targets, "tags": _tags}
"""Values by sample id, of a field that is declared if it is new."""
