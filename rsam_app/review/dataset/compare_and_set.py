"""Bulk updates of samples that never overwrite what somebody else changed in the meantime."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rsam_app.system.errors import UserError

DUPLICATE_KEY = 11000
"""MongoDB's error code for a second document with the same unique key."""
MAX_TRIES = 20


@dataclass(frozen=True)
class Change:
    """Fields to set on one sample if the `expected` fields still have these values (None: missing or null)."""

    sample_id: Any
    expected: dict[str, Any]
    new: dict[str, Any]


def now() -> datetime.datetime:
    """Return the time as FiftyOne stores it: UTC without a zone."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def insert(collection: Any, documents: Sequence[dict[str, Any]]) -> int:
    """Insert samples, except those of records that have one already; return how many were inserted."""
    from pymongo.errors import BulkWriteError

    if not documents:
        return 0
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(problem["code"] != DUPLICATE_KEY for problem in error.details["writeErrors"]):
            raise
        return int(error.details["nInserted"])
    return len(documents)


def compare_and_set(collection: Any, changes: Sequence[Change]) -> int:
    """Make the changes whose samples still have the expected values; return how many those were."""
    from pymongo import UpdateOne

    if not changes:
        return 0
    # The App replaces the whole sample that it read, unless `last_modified_at` shows that the sample is outdated.
    modified = {"last_modified_at": now()}
    updates = []
    for change in changes:
        unchanged = {name: {"$eq": value} for name, value in change.expected.items()}
        updates.append(UpdateOne({"_id": change.sample_id, **unchanged}, {"$set": {**change.new, **modified}}))
    return int(collection.bulk_write(updates, ordered=False).matched_count)


def update(collection: Any, decide: Callable[[], list[Change]]) -> int:
    """Make the changes that `decide` derives from the database, and return how many samples changed.

    If somebody changes a sample between reading and writing, that change stays and `decide` is called again. Raises
    `UserError` after 20 calls.
    """
    changed = 0
    for _ in range(MAX_TRIES):
        changes = decide()
        made = compare_and_set(collection, changes)
        changed += made
        if made == len(changes):
            return changed
    raise UserError(
        f"{collection.full_name}: another process changes the same samples faster than they can be written.\n"
        "Stop that process, then rerun `rsam review`."
    )
