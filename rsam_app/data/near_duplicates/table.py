"""Near-duplicates of a run, found once and kept in its folder: the search opens every image, a review does not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rsam_app.data.images.file_identity import PIXELS_VERSION, stamp
from rsam_app.data.near_duplicates.result import Duplicates
from rsam_app.data.near_duplicates.thumbnails import make_thumbnails
from rsam_app.data.records import Dataset, Record, Skipped, by_id

if TYPE_CHECKING:
    from rsam_app.system.progress import StepProgress

VERSION = 1
"""Raise it when other images are found to be the same photograph: what runs have kept is then found again."""
SCHEMA = pa.schema(
    [
        ("first", pa.string()),  # record ids; that of `first` comes earlier in the predictions
        ("second", pa.string()),
        ("likeness", pa.float32()),  # how well their detail agrees, .92 to 1
        ("identical", pa.bool_()),  # the very same thumbnail: compared with others through `first` alone
    ]
)
_ABOUT = b"rsam"


def near_duplicates(
    path: Path, records: Sequence[Record], within: Sequence[Record], progress: StepProgress | None = None
) -> Duplicates:
    """Which of `records` are the same photograph: as kept at `path`, where that is still true of the files, else found
    (`find_duplicates`) and kept there.

    The table has a row a pair, by the records' ids, and says besides of which files it is true. In which splits the
    images are does not matter to it. A table that cannot be read counts as none, and so does one that left out files
    which can be read now.
    """
    state = files_state(records)
    kept = _read(path, records, state)
    if kept is not None and not _readable_now(kept.broken, records):
        return kept
    from rsam_app.data.near_duplicates.find import find_duplicates  # imports torch: seconds that reading does without

    found = find_duplicates(records, within, progress)
    keep(path, found, records, state)
    return found


def predicted_records(dataset: Dataset, ids: Sequence[str]) -> list[Record]:
    """The records of the dataset that a run's predictions `ids` are about, in their order, each once."""
    known = by_id(dataset.records)
    return [known[record_id] for record_id in dict.fromkeys(ids) if record_id in known]


def files_state(records: Sequence[Record]) -> str:
    """A fingerprint of records by id and of their files by size and time.

    Not by where they lie: a run folder may be copied from the machine that predicted, beside a copy of the images.
    """
    digest = hashlib.sha256(repr((VERSION, PIXELS_VERSION)).encode())
    for record in records:
        digest.update(repr((record.id, stamp(record.path), record.banner)).encode())
    return digest.hexdigest()


def _readable_now(broken: Sequence[Skipped], records: Sequence[Record]) -> bool:
    """Whether one of these files is whole after all, its size and time unchanged: a disk was away, or it was locked."""
    files = {skipped.path for skipped in broken}
    return bool(make_thumbnails([r for r in records if r.path in files and stamp(r.path)]).readable.any())


def keep(path: Path, found: Duplicates, records: Sequence[Record], state: str) -> None:
    """Keep at `path` what was found among `records`, whose files were in this `state` (`files_state`)."""
    ids = [record.id for record in records]
    again = np.flatnonzero(found.same != np.arange(len(found.same)))
    pairs = np.concatenate([found.pairs, np.stack([found.same[again], again], axis=1)]).astype(np.int64)
    columns = {
        "first": [ids[row] for row in pairs[:, 0]],
        "second": [ids[row] for row in pairs[:, 1]],
        "likeness": np.concatenate([found.likeness, np.ones(len(again))]).astype(np.float32),
        "identical": np.arange(len(pairs)) >= len(found.pairs),
    }
    about = {"state": state, "broken": [[str(s.path), s.reason] for s in found.broken], "flat": found.flat}
    table = pa.table(columns, schema=SCHEMA.with_metadata({_ABOUT: json.dumps(about)}))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial)
    os.replace(partial, path)


def _read(path: Path, records: Sequence[Record], state: str) -> Duplicates | None:
    """What is kept, if it can be read and is about these files as they are now."""
    try:
        about = json.loads(pq.read_schema(path).metadata[_ABOUT])
        if about["state"] != state:
            return None
        table = pq.read_table(path, schema=SCHEMA)
        row_of = {record.id: row for row, record in enumerate(records)}
        pairs = np.array(
            [[row_of[record_id] for record_id in table.column(name).to_pylist()] for name in ("first", "second")],
            dtype=np.int64,
        ).T
        broken = tuple(Skipped(Path(file), reason) for file, reason in about["broken"])
        flat = int(about["flat"])
    except (FileNotFoundError, pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    identical = table.column("identical").to_numpy()
    same = np.arange(len(records))
    same[pairs[identical, 1]] = pairs[identical, 0]
    likeness = table.column("likeness").to_numpy()
    return Duplicates(same, pairs[~identical], likeness[~identical], broken, flat)
