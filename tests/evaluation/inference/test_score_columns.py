"""Columns of the predictions table that need ground truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsam_app.data.records import Record
from rsam_app.evaluation.inference.run_model import Outputs
from rsam_app.evaluation.inference.score_columns import score_columns

BOX = (20.0, 10.0, 50.0, 60.0)
"""The rectangle of every image; a mask fills its left half."""


@pytest.fixture
def record(tmp_path: Path) -> Record:
    region = np.zeros((80, 100), dtype=np.uint8)
    region[10:70, 20:45] = 1
    Image.fromarray(region).save(tmp_path / "m.png")
    return Record("a", Path("a"), "x", "test", 100, 80, mask=tmp_path / "m.png")


def off_object_of(*records: Record) -> tuple[list[float] | None, str | None]:
    """The column, and the reason if it is missing."""
    n = len(records)
    logits, scores = np.zeros((n, 2), np.float32), np.zeros(n, np.float32)
    rectangles = np.tile(np.float32([45, 40, 50, 60, 0]), (n, 1))
    outputs = Outputs(logits, logits, logits, rectangles, np.zeros((n, 3), np.float32), scores, scores)
    columns, absent = score_columns(outputs, records, np.zeros(n, np.int64), None)
    found = columns.get("off_object")
    return None if found is None else found.tolist(), absent.get("off_object")


def test_off_object_is_of_one_kind_of_box(record: Record) -> None:
    own = replace(record, mask=None, boxes=(BOX,))
    assert off_object_of(own) == ([0], None)
    assert off_object_of(record) == ([0.5], None), "the box around the mask"
    assert off_object_of(replace(record, boxes=(BOX,))) == ([0.5], None), "own boxes disagree: IoU .5"
    values, reason = off_object_of(record, replace(record, boxes=(BOX,)), own)
    assert values is not None
    np.testing.assert_array_equal(values, [0.5, 0.5, np.nan])
    assert reason is None
    assert off_object_of(replace(record, mask=None)) == (None, None)


def test_a_damaged_mask_beside_a_box_is_reported(record: Record, tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"\x89PNG no")
    values, reason = off_object_of(replace(record, boxes=(BOX,)))
    assert values is None
    assert reason is not None and "m.png: the mask cannot be read" in reason
