"""Labels as MongoDB documents.

FiftyOne creates, validates and tracks an object for every label, which takes twenty times as long as storing its
document. Here FiftyOne makes one object for each combination of attributes; the other documents are copies of that
object's document with other values. What another FiftyOne version adds to its documents is therefore stored, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bson import ObjectId

from rsam_app.review.dataset.fiftyone_internals import serialized_array

Document = dict[str, Any]

_templates: dict[tuple[str, ...], Document] = {}
"""The document of one object for each class and combination of attributes."""


def label_document(kind: str, **values: Any) -> Document:
    """Return the document of a FiftyOne label of class `kind`, with a new id; values that are None are left out.

    Values are stored as given, except arrays, which become bytes.
    """
    given = {name: value for name, value in values.items() if value is not None}
    names = (kind, *given)
    if names not in _templates:
        import fiftyone as fo

        _templates[names] = dict(getattr(fo, kind)(**given).to_dict())
    stored = {name: serialized_array(v) if isinstance(v, np.ndarray) else v for name, v in given.items()}
    document = {**_templates[names], **stored}
    if "_id" in document:
        document["_id"] = ObjectId()
    return document


def list_document(kind: str, labels: Sequence[Document]) -> Document:
    """Return the document of a list of labels, such as `Detections`."""
    return {**label_document(kind), kind.lower(): list(labels)}
