"""The two ways of writing rows of predictions: documents of our own, and FiftyOne's objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from rsam_app.data.records import Record
from rsam_app.errors import UserError
from rsam_app.review.documents import Document, run_documents, sample_document
from rsam_app.review.objects import as_stored, run_objects, sample_object
from rsam_app.review.recorded import Decided
from rsam_app.review.swap import insert, now


class Way(Protocol):
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
                f"FiftyOne data set {self.review_set.name!r}: another process is adding the same images ({error}).\n"
                "Wait for it to end, then run `rsam review` again."
            ) from error
        return len(samples)
