"""The two ways of writing rows of predictions: documents of our own, and FiftyOne's objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from rsam_app.data.records import Record
from rsam_app.review.dataset.compare_and_set import insert, now
from rsam_app.review.dataset.record_fields import Decided
from rsam_app.review.writing.documents import (
    Document,
    as_stored,
    plain,
    run_documents,
    run_objects,
    sample_document,
    sample_object,
)
from rsam_app.system.errors import UserError


class Writer(Protocol):
    """A way of writing the run `key` into `review_set`."""

    def __init__(self, review_set: Any, key: str, decided: Decided) -> None: ...

    def values(self, rows: pa.RecordBatch) -> list[Document]:
        """The fields of the run for each row, as the database stores them."""

    def add(self, records: Sequence[Record], rows: pa.RecordBatch) -> int:
        """Add a whole sample for each record and its row; returns how many had none meanwhile."""


class Direct:
    """Documents of our own, straight into the database."""

    def __init__(self, review_set: Any, key: str, decided: Decided) -> None:
        self.review_set, self.key, self.decided = review_set, key, decided

    def values(self, rows: pa.RecordBatch) -> list[Document]:
        """The fields of the run for each row, as the database stores them."""
        return run_documents(self.key, rows)

    def add(self, records: Sequence[Record], rows: pa.RecordBatch) -> int:
        """Add a whole sample for each record and its row; returns how many had none meanwhile."""
        dataset_id, at = self.review_set._doc.id, now()
        pairs = zip(records, self.values(rows), strict=True)
        documents = [sample_document(record, self.decided, run, dataset_id, at) for record, run in pairs]
        return insert(self.review_set._sample_collection, documents)


class ThroughFiftyOne:
    """FiftyOne's own objects: several times slower, and right whatever FiftyOne stores."""

    def __init__(self, review_set: Any, key: str, decided: Decided) -> None:
        self.review_set, self.key, self.decided = review_set, key, decided

    def values(self, rows: pa.RecordBatch) -> list[Document]:
        """The fields of the run for each row, as the database stores them."""
        return [as_stored(self.review_set, values) for values in run_objects(self.key, rows)]

    def add(self, records: Sequence[Record], rows: pa.RecordBatch) -> int:
        """Add a whole sample for each record and its row. Raises `UserError` where one has been added meanwhile."""
        pairs = zip(records, run_objects(self.key, rows), strict=True)
        samples = [sample_object(record, self.decided, run) for record, run in pairs]
        try:
            self.review_set.add_samples(samples, validate=False, expand_schema=False, progress=False)
        except ValueError as error:
            raise UserError(
                f"FiftyOne dataset {self.review_set.name!r}: another process is adding the same images ({error}).\n"
                "Wait for it to end, then run `rsam review` again."
            ) from error
        return len(samples)


BY_CHANCE = frozenset(("_id", "_rand", "created_at", "last_modified_at"))
"""What differs between any two samples, or labels."""


def run_differs(review_set: Any, key: str, decided: Decided, row: pa.RecordBatch) -> str:
    """Where FiftyOne would store the run's fields of one row otherwise than we do; empty where it would not."""
    (theirs,) = ThroughFiftyOne(review_set, key, decided).values(row)
    (ours,) = Direct(review_set, key, decided).values(row)
    return difference(theirs, plain(ours))


def sample_differs(review_set: Any, key: str, decided: Decided, record: Record, row: pa.RecordBatch) -> str:
    """Add the record's sample through FiftyOne, which also learns from its first sample what media the dataset has.

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
