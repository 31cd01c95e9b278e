"""Sending many changes to the database at once, none of them over what somebody else changed meanwhile."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rsam_app.system.errors import UserError

DUPLICATE = 11000
TRIES = 20


@dataclass(frozen=True)
class Change:
    """What to set on one sample, and what the same fields held when that was decided (None: nothing)."""

    sample: Any
    seen: dict[str, Any]
    new: dict[str, Any]


def now() -> datetime.datetime:
    """The time as FiftyOne keeps it: UTC without a zone."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def insert(collection: Any, documents: Sequence[dict[str, Any]]) -> int:
    """Insert samples, except for records that another process has given one meanwhile; returns how many."""
    from pymongo.errors import BulkWriteError

    if not documents:
        return 0
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(problem["code"] != DUPLICATE for problem in error.details["writeErrors"]):
            raise
        return int(error.details["nInserted"])
    return len(documents)


def swap(collection: Any, changes: Sequence[Change]) -> int:
    """Make the changes of samples whose fields still hold what was seen; returns how many those were."""
    from pymongo import UpdateOne

    if not changes:
        return 0
    at = now()  # must move on: the App replaces the whole sample that it read, unless this says that it is outdated
    updates = []
    for change in changes:
        unchanged = {name: {"$eq": value} for name, value in change.seen.items()}
        updates.append(UpdateOne({"_id": change.sample, **unchanged}, {"$set": {**change.new, "last_modified_at": at}}))
    return int(collection.bulk_write(updates, ordered=False).matched_count)


def settle(collection: Any, decide: Callable[[], list[Change]]) -> int:
    """Make the changes that `decide` finds necessary in what the database holds now; where somebody changed a sample
    between reading and writing, her change stays, and is decided on anew. Returns how many samples were changed."""
    changed = 0
    for _ in range(TRIES):
        changes = decide()
        made = swap(collection, changes)
        changed += made
        if made == len(changes):
            return changed
    raise UserError(
        f"{collection.full_name}: samples are being changed faster than they can be written.\n"
        "End what changes them, then run `rsam review` again."
    )
