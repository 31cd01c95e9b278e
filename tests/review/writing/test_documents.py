"""What we write must be what FiftyOne itself would have written, to the last byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsam_app.data.records import Dataset, Record, by_id
from rsam_app.review.dataset.fields import declare_run
from rsam_app.review.dataset.schema import create_or_open, open_review
from rsam_app.review.writing.write_run import write_run
from rsam_app.review.writing.writers import BY_CHANCE, Direct, ThroughFiftyOne, difference
from rsam_app.run.corrections import Correction
from rsam_app.run.folder import RunFolder
from rsam_app.run.soft_masks import place_masks, prepare_masks

MakeRun = Callable[..., RunFolder]
WHEN = "2026-01-01T00:00:00Z"


def decided(records: tuple[Record, ...]) -> dict[tuple[str, str], Correction]:
    """A label, a rectangle and an exclusion of the first three records."""
    label, box, gone = (r.id for r in records[:3])
    five = json.dumps([120, 80, 60, 30, 0.5])
    made = [
        Correction(label, "label", records[0].label, "crow", "ann", WHEN, "one"),
        Correction(box, "rectangle", "", five, "ann", WHEN, "one"),
        Correction(gone, "exclude", "false", "true", "ann", WHEN, "one"),
    ]
    return {(c.id, c.kind): c for c in made}


def odd_rows(run: RunFolder) -> pa.RecordBatch:
    """Rows of the run with everything that may be missing missing somewhere."""
    table = pq.read_table(run.predictions / "train.parquet")
    rows = table.to_pylist()
    for name in ("cx", "cy", "width", "height", "angle", "corners", "box"):
        rows[3][name] = None
    rows[4] |= {"confidence": math.nan, "misattention": math.inf, "label_quality": None}
    rows[5]["logits"] = None
    return pa.Table.from_pylist(rows, schema=table.schema).combine_chunks().to_batches()[0]


def masked(value: Any) -> Any:
    """A stored value with ids, times and chance replaced by their types."""
    if isinstance(value, dict):
        return {k: type(v).__name__ if k in BY_CHANCE else masked(v) for k, v in value.items()}
    return [masked(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("tables", [odd_rows, lambda run: pq.ParquetFile(run.predictions / "train.parquet")])
def test_samples_equal_fiftyones_own_to_the_last_byte(
    drawn: Dataset, make_run: MakeRun, tables: Callable[[RunFolder], Any]
) -> None:
    run = make_run(drawn)
    found = tables(run)
    rows = found if isinstance(found, pa.RecordBatch) else next(found.iter_batches(100))
    review_set = create_or_open(drawn)
    declare_run(review_set, "one", rows.schema.names)
    records = [by_id(drawn.records)[i] for i in rows.column("id").to_pylist()]
    records[6] = replace(records[6], width=0, height=0)
    records[7] = replace(records[7], boxes=())
    known = decided(tuple(records))
    ThroughFiftyOne(review_set, "one", known).add(records, rows)
    theirs = stored(review_set)
    review_set._sample_collection.delete_many({})
    assert Direct(review_set, "one", known).add(records, rows) == len(records)
    ours = stored(review_set)
    assert ours.keys() == theirs.keys() == {r.id for r in records}
    for record_id in theirs:
        assert bson.encode(masked(ours[record_id])) == bson.encode(masked(theirs[record_id]))


def test_a_runs_fields_equal_what_set_values_stores(drawn: Dataset, make_run: MakeRun) -> None:
    rows = odd_rows(make_run(drawn))
    review_set = create_or_open(drawn)
    declare_run(review_set, "one", rows.schema.names)
    ours = Direct(review_set, "one", {}).values(rows)
    theirs = ThroughFiftyOne(review_set, "one", {}).values(rows)
    for a, b in zip(ours, theirs, strict=True):
        assert bson.encode(masked(a)) == bson.encode(masked(b))


def test_labels_have_ids_of_their_own(review_set: Any) -> None:
    ids = [
        label["_id"]
        for sample in stored(review_set).values()
        for label in (
            sample["run_one_prediction"],
            *sample["run_one_attention"]["detections"],
            *sample["run_one_rectangle"]["polylines"],
        )
    ]
    assert len(set(ids)) == len(ids) == 3 * 24
    assert {type(i) for i in ids} == {bson.ObjectId}


def test_the_written_set_behaves_as_any_other(drawn: Dataset, make_run: MakeRun, tmp_path: Any) -> None:
    import fiftyone as fo
    from fiftyone import ViewField as F

    write_run(make_run(drawn), drawn)
    review_set = open_review(drawn.name)
    assert review_set.media_type == "image"
    assert sum(review_set.count_values("run_one_prediction.label").values()) == 24
    assert len(review_set.match(F("run_one_attention.detections.cx") > 0).shuffle(seed=1).take(5, seed=2)) == 5
    for sample in review_set:
        for field in ("metadata", "ground_truth", "run_one_prediction", "run_one_attention", "run_one_rectangle"):
            review_set.get_field(field).validate(sample[field])
        assert sample.created_at <= sample.last_modified_at
    sample = review_set.first()
    sample.run_one_prediction.tags.append("seen")
    sample.save()
    assert review_set.count_label_tags() == {"seen": 1}
    copy = review_set.clone()
    assert copy.count_values("run_one_prediction.label") == review_set.count_values("run_one_prediction.label")
    copy.delete()
    review_set.export(str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset, export_media=False)
    back = fo.Dataset.from_dir(str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset)
    assert back.values("run_one_prediction.logits")[0] == pytest.approx(sample.run_one_prediction.logits)
    back.delete()


def test_a_difference_is_found_wherever_it_is() -> None:
    ours = {"_id": 1, "p": {"_id": 2, "tags": [], "polylines": [{"points": [[0.5, 1.0]], "logits": b"12"}]}}
    assert difference({**ours, "_id": 7}, ours) == ""
    for changed, place in (
        ({**ours, "media": None}, "media"),
        ({"_id": 1}, "p"),
        ({"p": {**ours["p"], "tags": None}}, "p.tags"),
        ({"p": {**ours["p"], "polylines": [{"points": [[0.5, 1]], "logits": b"12"}]}}, "p.polylines.0.points.0.1"),
        ({"p": {**ours["p"], "polylines": [{"points": [[0.5, 1.0]], "logits": b"13"}]}}, "p.polylines.0.logits"),
    ):
        assert difference(changed, ours) == difference(ours, changed) == place


def stored(review_set: Any) -> dict[str, dict[str, Any]]:
    return {s["record_id"]: s for s in review_set._sample_collection.find()}


def test_soft_masks_come_and_go_with_their_files(drawn: Dataset, make_run: MakeRun) -> None:
    run = make_run(drawn)
    from fiftyone import ViewField as F

    write_run(run, drawn)
    review_set = open_review(drawn.name)
    assert not review_set.has_sample_field("run_one_soft_mask"), "only on request"
    path = run.predictions / "test.parquet"
    ids = [r.id for r in drawn.split("test")]
    masks = np.tile(np.linspace(0, 255, 49, dtype=np.uint8).reshape(7, 7), (len(ids), 1, 1))
    place_masks(path, prepare_masks(path, ids, masks))
    assert write_run(run, drawn).updated == len(ids)
    review_set.reload()
    sample = review_set.one(F("record_id") == ids[0])
    assert sample.run_one_soft_mask.get_map().shape == (56, 56)
    assert stored(review_set)[ids[0]]["run_one_soft_mask"].keys() == stored_heatmap().keys()
    assert review_set.count("run_one_soft_mask") == len(ids)
    assert write_run(run, drawn).updated == 0
    place_masks(path, prepare_masks(path, ids, None))
    assert write_run(run, drawn).updated == len(ids)
    assert review_set.count("run_one_soft_mask") == 0


def stored_heatmap() -> dict[str, Any]:
    import fiftyone as fo

    return dict(fo.Heatmap(map_path="/x.png").to_dict())
