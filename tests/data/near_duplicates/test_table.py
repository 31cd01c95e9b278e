"""The table of a run's near-duplicates: read instead of searched again while it is valid."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rsam_app.data.near_duplicates.find import find_duplicates
from rsam_app.data.near_duplicates.result import Duplicates
from rsam_app.data.near_duplicates.table import near_duplicates, predicted_records
from rsam_app.data.records import Dataset, Record

MakeCopies = Callable[[Sequence[Record]], list[Record]]


@pytest.fixture
def records(beetles: tuple[Record, ...], copies: MakeCopies, tmp_path: Path) -> list[Record]:
    """Eight beetles, altered copies of two of them, an identical copy of the third, and a missing file."""
    first = Record("again", beetles[2].path, beetles[2].label, "test")
    gone = Record("gone", tmp_path / "gone.jpg", "", "train")
    made = [*beetles[:8], *copies(beetles[:2]), first, gone]
    for number, record in enumerate(made[:-1]):
        path = tmp_path / "images" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(record.path, path)
        made[number] = replace(record, path=path)
    return made


def equal(one: Duplicates, other: Duplicates) -> bool:
    arrays = ("same", "pairs", "likeness")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return same and one.notes() == other.notes()


def disguised(record: Record, pixels: bytes) -> None:
    """Replace a file's bytes but not its size and time, as nobody does by accident."""
    status = record.path.stat()
    record.path.write_bytes(pixels[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(record.path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_the_table_is_read_back_without_opening_the_images(records: list[Record], tmp_path: Path) -> None:
    path = tmp_path / "run" / "near.parquet"
    found = near_duplicates(path, records, records)
    assert equal(found, find_duplicates(records)) and len(found.pairs) == 2 and (found.same == 2).sum() == 2
    assert [s.path.name for s in found.broken] == ["gone.jpg"]
    kept = path.stat().st_mtime_ns
    disguised(records[0], b"no image any more")
    assert equal(near_duplicates(path, records, records), found)
    assert path.stat().st_mtime_ns == kept


def test_the_table_names_the_images_for_other_programs(records: list[Record], tmp_path: Path) -> None:
    near_duplicates(tmp_path / "near.parquet", records, records)
    rows = pq.read_table(tmp_path / "near.parquet").to_pylist()
    shown = {(row["first"], row["second"]): row for row in rows}
    assert shown.keys() == {(records[i].id, records[j].id) for i, j in ((0, 8), (1, 9), (2, 10))}
    assert [row["identical"] for row in rows] == [False, False, True]
    assert all(0.92 <= row["likeness"] <= 1 for row in rows)


def test_a_changed_file_another_image_and_a_damaged_table_are_noticed(records: list[Record], tmp_path: Path) -> None:
    path = tmp_path / "near.parquet"
    assert len(near_duplicates(path, records[:8], records).pairs) == 0
    assert len(near_duplicates(path, records, records).pairs) == 2, "one more split was predicted"
    shutil.copyfile(records[4].path, records[8].path)
    assert near_duplicates(path, records, records).same.tolist()[8] == 4
    path.write_bytes(path.read_bytes()[:-20])
    assert near_duplicates(path, records, records).same.tolist()[8] == 4
    assert pq.read_table(path).num_rows == 3


def test_a_file_that_can_be_read_again_is_compared(records: list[Record], tmp_path: Path) -> None:
    path, whole = tmp_path / "near.parquet", records[8].path.read_bytes()
    disguised(records[8], b"locked")
    assert near_duplicates(path, records, records).groups()[8] == -1
    disguised(records[8], whole)
    assert near_duplicates(path, records, records).groups()[8] == 0


def test_it_stays_valid_for_a_copy_of_the_images(records: list[Record], tmp_path: Path) -> None:
    path = tmp_path / "near.parquet"
    near_duplicates(path, records, records)
    kept = path.stat().st_mtime_ns
    shutil.copytree(tmp_path / "images", tmp_path / "elsewhere")
    moved = [replace(record, path=tmp_path / "elsewhere" / record.path.name) for record in records]
    near_duplicates(path, moved, moved)
    assert path.stat().st_mtime_ns == kept


def test_records_come_once_in_the_order_of_the_predictions(beetles: tuple[Record, ...]) -> None:
    dataset = Dataset("beetles", beetles, (), "CC0")
    first, _, third = (record.id for record in beetles[:3])
    assert predicted_records(dataset, [third, "gone", first, third]) == [beetles[2], beetles[0]]
