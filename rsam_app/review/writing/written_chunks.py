"""The chunks of a run's predictions that the dataset already contains, as digests of their rows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsam_app.review.dataset.memory import RunMemory
from rsam_app.review.dataset.schema import memory, remember
from rsam_app.system.versions import REVIEW_DATASET


class WrittenChunks:
    """The chunks of the run `key` in the dataset, stored in the dataset itself.

    A chunk is identified by its rows, so a new table with the same rows is not written again. What is stored is true at
    any time: before rows are overwritten, their old chunks are removed.
    """

    def __init__(self, review_set: Any, run: Path, key: str) -> None:
        self.review_set, self.key = review_set, key
        self._stored = memory(review_set).runs.get(key, RunMemory())
        self._now = RunMemory(path=str(run.resolve()), predictions={}, scores=self._stored.scores)

    def __contains__(self, chunk: tuple[str, str]) -> bool:
        """Whether the chunk (split, digest) is in the dataset."""
        split, digest = chunk
        return digest in self._stored.predictions.get(split, ())

    def add(self, split: str, digest: str) -> None:
        """Note that the dataset contains this chunk."""
        self._now.predictions.setdefault(split, []).append(digest)

    def forget_other_runs(self) -> None:
        """Forget the chunks of other runs and all derived fields: samples are added that have none of their fields."""
        self.review_set.reload()
        runs = memory(self.review_set).runs
        others = {key: run.model_copy(update={"predictions": {}}) for key, run in runs.items() if key != self.key}
        remember(self.review_set, runs={**runs, **others}, derived={})

    def save(self, scores: list[str] | None = None) -> None:
        """Store the chunks so far and, at the end, the run's `scores`."""
        if scores is not None:
            self._now.scores = list(dict.fromkeys(scores))
        if self._now == self._stored:
            return
        self.review_set.reload()  # another process may have written another run
        runs = {key: run for key, run in memory(self.review_set).runs.items() if key != self.key}
        self._stored = self._now.model_copy(deep=True)
        remember(self.review_set, runs={**runs, self.key: self._stored})


def digest_of(rows: pa.RecordBatch) -> str:
    """Return a digest of the rows and of `REVIEW_DATASET`, 16 hexadecimal digits."""
    digest = hashlib.sha256(repr((REVIEW_DATASET, rows.schema.names)).encode())
    digest.update(rows.serialize())
    return digest.hexdigest()[:16]
