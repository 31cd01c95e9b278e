"""Table of a run's near-duplicates, stored in its folder so that a review need not read every image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rsam_app.data.images.file_identity import stamp
from rsam_app.data.near_duplicates.result import Duplicates
from rsam_app.data.near_duplicates.thumbnails import make_thumbnails
from rsam_app.data.records import Dataset, Record, Skipped, by_id
from rsam_app.system.files import fingerprint, replace_atomically
from rsam_app.system.json_files import parse_json
from rsam_app.system.versions import DECODED_IMAGES, NEAR_DUPLICATES

if TYPE_CHECKING:
    from rsam_app.system.progress import StepProgress

SCHEMA = pa.schema(
    [
        ("first", pa.string()),  # record ids; `first` comes earlier in the predictions
        ("second", pa.string()),
        ("likeness", pa.float32()),  # correlation of their detail, .92 to 1
        ("identical", pa.bool_()),  # an identical thumbnail: only `first` is compared with other images
    ]
)
_METADATA_KEY = b"rsam"


def near_duplicates(
    path: Path, records: Sequence[Record], within: Sequence[Record], progress: StepProgress | None = None
) -> Duplicates:
    """Return the near-duplicates among `records`: from the table at `path` if it is valid for their files, otherwise by
    `find_duplicates`, which replaces the table.

    The table has a row a pair, by the records' ids, and a fingerprint of the files; splits do not matter. It is invalid
    if it is unreadable, or if files that it left out can be read now.
    """
    state = files_state(records)
    stored = _read(path, records, state)
    if stored is not None and not _readable_now(stored.broken, records):
        return stored
    from rsam_app.data.near_duplicates.find import find_duplicates  # imports torch, which takes seconds

    duplicates = find_duplicates(records, within, progress)
    write_table(path, duplicates, records, state)
    return duplicates


def predicted_records(dataset: Dataset, ids: Sequence[str]) -> list[Record]:
    """Return the dataset's records with the predictions' `ids`, in their order, each once."""
    known = by_id(dataset.records)
    return [known[record_id] for record_id in dict.fromkeys(ids) if record_id in known]


def files_state(records: Sequence[Record]) -> str:
    """Return a fingerprint of the records' ids and of their files' sizes and times.

    Paths do not count: a run folder may be copied to another machine with a copy of the images.
    """
    return fingerprint(
        NEAR_DUPLICATES, DECODED_IMAGES, [(record.id, stamp(record.path), record.banner) for record in records]
    )


def _readable_now(broken: Sequence[Skipped], records: Sequence[Record]) -> bool:
    """Return whether one of these files can be read now: the disk was not mounted, or the file was locked."""
    files = {skipped.path for skipped in broken}
    return bool(make_thumbnails([r for r in records if r.path in files and stamp(r.path)]).readable.any())


def write_table(path: Path, found: Duplicates, records: Sequence[Record], state: str) -> None:
    """Write the near-duplicates found among `records`, whose files were in this `state` (`files_state`)."""
    ids = [record.id for record in records]
    identical = np.flatnonzero(found.same != np.arange(len(found.same)))
    pairs = np.concatenate([found.pairs, np.stack([found.same[identical], identical], axis=1)]).astype(np.int64)
    columns = {
        "first": [ids[row] for row in pairs[:, 0]],
        "second": [ids[row] for row in pairs[:, 1]],
        "likeness": np.concatenate([found.likeness, np.ones(len(identical))]).astype(np.float32),
        "identical": np.arange(len(pairs)) >= len(found.pairs),
    }
    metadata = {"state": state, "broken": [[str(s.path), s.reason] for s in found.broken], "flat": found.flat}
    table = pa.table(columns, schema=SCHEMA.with_metadata({_METADATA_KEY: json.dumps(metadata)}))
    with replace_atomically(path) as partial:
        pq.write_table(table, partial)


def _read(path: Path, records: Sequence[Record], state: str) -> Duplicates | None:
    """Return the stored result; None if it is unreadable or of other files."""
    try:
        metadata = parse_json(pq.read_schema(path).metadata[_METADATA_KEY])
        if metadata["state"] != state:
            return None
        table = pq.read_table(path, schema=SCHEMA)
        row_of = {record.id: row for row, record in enumerate(records)}
        pairs = np.array(
            [[row_of[record_id] for record_id in table.column(name).to_pylist()] for name in ("first", "second")],
            dtype=np.int64,
        ).T
        broken = tuple(Skipped(Path(file), reason) for file, reason in metadata["broken"])
        flat = int(metadata["flat"])
    except (FileNotFoundError, pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    identical = table.column("identical").to_numpy()
    same = np.arange(len(records))
    same[pairs[identical, 1]] = pairs[identical, 0]
    likeness = table.column("likeness").to_numpy()
    return Duplicates(same, pairs[~identical], likeness[~identical], broken, flat)
