"""Which rows of a run's predictions the dataset holds already, remembered as digests of chunks of rows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsam_app.review.dataset.schema import memory, remember
from rsam_app.system.versions import REVIEW_DATASET


class Written:
    """The chunks of the run `key` that are in the dataset; kept in the dataset itself, so it comes and goes with it.

    A chunk is known by what its rows say, so a table that was made anew and says the same is not written again. What is
    remembered is true at any time: what is about to be overwritten is forgotten first.
    """

    def __init__(self, review_set: Any, run: Path, key: str) -> None:
        self.review_set, self.key = review_set, key
        self.path = str(run.resolve())
        entry = memory(review_set).get("runs", {}).get(key, {})
        held = entry.get("predictions", {})
        self._stored = {split: list(chunks) for split, chunks in held.items() if isinstance(chunks, list)}
        self._moved = entry.get("path") != self.path
        self._now: dict[str, list[str]] = {}
        self._scores: list[str] = list(entry.get("scores", []))

    def holds(self, split: str, digest: str) -> bool:
        """Whether this chunk is in the dataset as it is."""
        known = digest in self._stored.get(split, ())
        if known:
            self.add(split, digest)
        return known

    def add(self, split: str, digest: str) -> None:
        """This chunk is in the dataset now."""
        self._now.setdefault(split, []).append(digest)

    def remember(self, scores: list[str] | None = None) -> None:
        """Store what is known up to here, and at the end the run's `scores`, next to what other runs store."""
        scores = self._scores if scores is None else list(dict.fromkeys(scores))
        if self._now == self._stored and not self._moved and scores == self._scores:
            return
        self.review_set.reload()  # another run may have been written meanwhile
        runs = {k: v for k, v in memory(self.review_set).get("runs", {}).items() if k != self.key}
        runs[self.key] = {"path": self.path, "predictions": self._now, "scores": scores}
        remember(self.review_set, runs=runs)
        self._stored = {split: list(chunks) for split, chunks in self._now.items()}
        self._moved, self._scores = False, scores


def digest_of(rows: pa.RecordBatch) -> str:
    """What these rows say, in 16 hexadecimal digits; raised `REVIEW_DATASET` gives every chunk another."""
    digest = hashlib.sha256(repr((REVIEW_DATASET, rows.schema.names)).encode())
    digest.update(rows.serialize())
    return digest.hexdigest()[:16]
