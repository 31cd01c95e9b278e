"""Documents against those of FiftyOne's own objects, to the last byte."""

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
from rsam_app.geometry.boxes import relative_box
from rsam_app.geometry.types import RECTANGLE_FIELDS, Rectangle
from rsam_app.review.dataset.compare_and_set import insert, now
from rsam_app.review.dataset.fields import SOFT_MASK, declare_run, finite, score_fields
from rsam_app.review.dataset.fiftyone_internals import dataset_id, sample_collection
from rsam_app.review.dataset.schema import create_or_open, open_review
from rsam_app.review.dataset.targets import as_target
from rsam_app.review.writing.documents import run_documents, sample_document
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.corrections import Correction
from rsam_app.run.folder import RunFolder
from rsam_app.run.soft_masks import place_masks, prepare_masks

MakeRun = Callable[..., RunFolder]
WHEN = "2026-01-01T00:00:00Z"
RANDOM = ("_id", "_rand", "created_at", "last_modified_at")
"""Values that differ between any two samples or labels."""


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
    """Rows of the run; every optional value is missing in one of them."""
    table = pq.read_table(run.predictions / "train.parquet")
    rows = table.to_pylist()
    for name in ("cx", "cy", "width", "height", "angle", "corners", "box"):
        rows[3][name] = None
    rows[4] |= {"confidence": math.nan, "misattention": math.inf, "label_quality": None}
    rows[5]["logits"] = None
    return pa.Table.from_pylist(rows, schema=table.schema).combine_chunks().to_batches()[0]


def run_objects(key: str, rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """The fields of a run as FiftyOne's objects, built by its public constructors."""
    import fiftyone as fo

    made = []
    for row in rows.to_pylist():
        common = {"label": row["predicted"], "confidence": finite(row["confidence"])}
        logits = None if row["logits"] is None else np.array(row["logits"], dtype=np.float32)
        values: dict[str, Any] = {f"{key}_prediction": fo.Classification(**common, logits=logits)}
        attention = rectangle = None
        if row["box"] is not None:
            five = {name: row[name] for name in RECTANGLE_FIELDS}
            box = {"label": common["label"], "bounding_box": row["box"], "confidence": common["confidence"]}
            attention = fo.Detections(detections=[fo.Detection(**box, model_box=list(row["box"]), **five)])
            points = [list(zip(row["corners"][::2], row["corners"][1::2], strict=True))]
            shape = {"label": common["label"], "points": points, "confidence": common["confidence"]}
            rectangle = fo.Polylines(polylines=[fo.Polyline(**shape, closed=True, filled=True)])
        values |= {f"{key}_attention": attention, f"{key}_rectangle": rectangle}
        if path := row.get(SOFT_MASK):
            values[f"{key}_{SOFT_MASK}"] = fo.Heatmap(map_path=path)
        made.append(values | {f"{key}_{name}": finite(row[name]) for name in score_fields(rows.schema.names)})
    return made


def sample_object(record: Record, known: dict[tuple[str, str], Correction], run: dict[str, Any]) -> Any:
    """A sample of the record with its corrections, built by FiftyOne's public constructors."""
    import fiftyone as fo

    kinds = [kind for kind in ("label", "rectangle", "exclude") if (record.id, kind) in known]
    label = known[record.id, "label"].after if "label" in kinds else record.label
    size = record.width, record.height
    relative = [relative_box(x, y, x + w, y + h, size) for x, y, w, h in record.boxes] if record.width else []
    boxes = [fo.Detection(label=record.label, bounding_box=b, original_box=list(b)) for b in relative]
    values = {
        "filepath": str(record.path),
        "metadata": fo.ImageMetadata(width=record.width, height=record.height) if record.width else None,
        "record_id": record.id,
        "split": record.split,
        "ground_truth": fo.Classification(label=label),
        "ground_truth_boxes": fo.Detections(detections=boxes) if boxes else None,
        "attention_target": as_target(Rectangle(120, 80, 60, 30, 0.5), *size) if "rectangle" in kinds else None,
        "review": "exclude" if "exclude" in kinds else None,
        "decided_kinds": kinds or None,
        "original_label": record.label,
    }
    return fo.Sample(**{name: value for name, value in {**values, **run}.items() if value is not None})


def masked(value: Any) -> Any:
    """A stored value with ids, times and random numbers replaced by their types."""
    if isinstance(value, dict):
        return {k: type(v).__name__ if k in RANDOM else masked(v) for k, v in value.items()}
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
    samples = [sample_object(record, known, run) for record, run in zip(records, run_objects("one", rows), strict=True)]
    review_set.add_samples(samples, validate=False, expand_schema=False, progress=False)
    theirs = stored(review_set)
    sample_collection(review_set).delete_many({})
    pairs = zip(records, run_documents("one", rows), strict=True)
    documents = [sample_document(record, known, run, dataset_id(review_set), now()) for record, run in pairs]
    assert insert(sample_collection(review_set), documents) == len(records)
    ours = stored(review_set)
    assert ours.keys() == theirs.keys() == {r.id for r in records}
    for record_id in theirs:
        assert bson.encode(masked(ours[record_id])) == bson.encode(masked(theirs[record_id]))


def test_a_runs_fields_equal_what_set_values_stores(drawn: Dataset, make_run: MakeRun) -> None:
    rows = odd_rows(make_run(drawn))
    review_set = create_or_open(drawn)
    declare_run(review_set, "one", rows.schema.names)
    for ours, objects in zip(run_documents("one", rows), run_objects("one", rows), strict=True):
        theirs = {n: None if v is None else review_set.get_field(n).to_mongo(v) for n, v in objects.items()}
        assert bson.encode(masked(ours)) == bson.encode(masked(bson.decode(bson.encode(theirs))))


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


def test_the_dataset_behaves_as_any_other(drawn: Dataset, make_run: MakeRun, tmp_path: Any) -> None:
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


def stored(review_set: Any) -> dict[str, dict[str, Any]]:
    return {s["record_id"]: s for s in sample_collection(review_set).find()}


def test_soft_masks_follow_their_files(drawn: Dataset, make_run: MakeRun) -> None:
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
