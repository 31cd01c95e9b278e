"""Whether this FiftyOne stores what `review.documents` builds: compared on one sample of every write."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rsam_app.data.records import Record
from rsam_app.review.documents import sample_document
from rsam_app.review.objects import plain
from rsam_app.review.recorded import Decided
from rsam_app.review.swap import now
from rsam_app.review.ways import Direct, ThroughFiftyOne

BY_CHANCE = frozenset(("_id", "_rand", "created_at", "last_modified_at"))
"""What differs between any two samples, or labels."""


def run_differs(review_set: Any, key: str, decided: Decided, row: pa.RecordBatch) -> str:
    """Where FiftyOne would store the run's fields of one row otherwise than we do; empty where it would not."""
    (theirs,) = ThroughFiftyOne(review_set, key, decided).values(row)
    (ours,) = Direct(review_set, key, decided).values(row)
    return difference(theirs, plain(ours))


def sample_differs(review_set: Any, key: str, decided: Decided, record: Record, row: pa.RecordBatch) -> str:
    """Add the record's sample through FiftyOne, which also learns from its first sample what media the data set has.

    Returns where it stored something else than we would have; empty where it did not.
    """
    ThroughFiftyOne(review_set, key, decided).add([record], row)
    theirs = review_set._sample_collection.find_one({"record_id": record.id})
    (run,) = Direct(review_set, key, decided).values(row)
    return difference(theirs, plain(sample_document(record, decided, run, review_set._doc.id, now())))


def difference(theirs: Any, ours: Any, place: str = "") -> str:
    """The first place where two stored values differ in anything but ids, times and chance; empty where they do not."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if only_one_has := sorted((theirs.keys() ^ ours.keys()) - BY_CHANCE):
            return f"{place}.{only_one_has[0]}".lstrip(".")
        pairs = [(name, theirs[name], ours[name]) for name in theirs if name not in BY_CHANCE]
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(theirs, ours, strict=True))]
    else:
        return "" if type(theirs) is type(ours) and theirs == ours else place
    return next((found for name, a, b in pairs if (found := difference(a, b, f"{place}.{name}".lstrip(".")))), "")
