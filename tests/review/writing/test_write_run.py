"""Writing runs into the real database, once and again, with the reviewer's work in between."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsam_app.data.records import Dataset
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.samples import CHUNK
from rsam_app.review.dataset.schema import open_review
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.corrections import Correction, add_corrections, corrections_path
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

MakeRun = Callable[..., RunFolder]


def everything(review_set: Any) -> dict[str, dict[str, Any]]:
    """Every sample as stored, by record id, without the time of its last change."""
    stored = sample_collection(review_set).find()
    return {s["record_id"]: {k: v for k, v in s.items() if k != "last_modified_at"} for s in stored}


def relabelled(dataset: Dataset, record_id: str, label: str) -> Dataset:
    """The dataset with another label of this record in its files."""
    return replace(dataset, records=tuple(replace(r, label=label) if r.id == record_id else r for r in dataset.records))


def test_every_field_of_the_contract_arrives(drawn: Dataset, make_run: MakeRun) -> None:
    run = make_run(drawn)
    report = write_run(run, drawn)
    assert (report.dataset, report.key, report.added, report.updated) == (drawn.name, "run_one", 24, 0)
    review_set = open_review(drawn.name)
    assert review_set.persistent
    assert review_set.classes["ground_truth"] == list(drawn.classes)
    for record in drawn.records:
        sample = review_set.one(_is(record.id))
        assert sample.filepath == str(record.path)
        assert (sample.metadata.width, sample.metadata.height) == (240, 160)
        assert (sample.split, sample.ground_truth.label, sample.original_label) == (record.split, *[record.label] * 2)
        true = sample.ground_truth_boxes.detections[0].bounding_box
        assert true == pytest.approx([v / s for v, s in zip(record.boxes[0], (240, 160, 240, 160), strict=True)])
        row = _row(run, record.split, record.id)
        assert sample.run_one_prediction.label == row["predicted"]
        assert sample.run_one_prediction.logits == pytest.approx(row["logits"])
        detection = sample.run_one_attention.detections[0]
        assert detection.bounding_box == pytest.approx(row["box"])
        assert [detection[n] for n in RECTANGLE_FIELDS] == pytest.approx([row[n] for n in RECTANGLE_FIELDS])
        for score in ("confidence", "margin", "entropy", "misattention", "label_quality"):
            assert sample[f"run_one_{score}"] == pytest.approx(row[score])


def test_what_was_deleted_in_fiftyone_is_written_again(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    before, run = everything(review_set), make_run(drawn)
    gone = drawn.records[3].id
    review_set.delete_samples(review_set.match(_is(gone)))
    review_set.delete_sample_fields(["record_id", "split", "run_one_misattention", "run_one_prediction"])
    with pytest.raises(UserError, match=r"the fields record_id, split were deleted\.\nRun `rsam review RUN`"):
        open_review(drawn.name)
    report = write_run(run, drawn)
    assert (report.added, report.updated) == (1, 23)
    assert any("23 samples without a record_id" in note for note in report.notes)
    after = everything(open_review(drawn.name))
    assert after.keys() == before.keys()
    for name in ("record_id", "split", "run_one_misattention"):
        assert {i: s[name] for i, s in after.items()} == {i: s[name] for i, s in before.items()}
    assert all(s["run_one_prediction"]["label"] for s in after.values())
    assert after[gone].keys() == before[gone].keys()
    again = write_run(run, drawn)
    assert (again.added, again.updated, again.unchanged) == (0, 0, 24)


def test_the_rectangle_shears_nothing_where_the_image_is_not_square(drawn: Dataset, review_set: Any) -> None:
    for sample in review_set:
        polyline, five = sample.run_one_rectangle.polylines[0], sample.run_one_attention.detections[0]
        assert polyline.closed and polyline.filled
        corners = [(x * 240, y * 160) for x, y in polyline.points[0]]
        for i, side in enumerate((five.width, five.height, five.width, five.height)):
            (x0, y0), (x1, y1), (x2, y2) = corners[i], corners[(i + 1) % 4], corners[(i + 2) % 4]
            assert math.hypot(x1 - x0, y1 - y0) == pytest.approx(side, abs=1e-2)
            assert (x1 - x0) * (x2 - x1) + (y1 - y0) * (y2 - y1) == pytest.approx(0, abs=1e-1)


def test_writing_twice_changes_nothing_twice(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    before, views = everything(review_set), review_set.list_saved_views()
    report = write_run(make_run(drawn), drawn)
    assert (report.added, report.updated, report.unchanged) == (0, 0, 24)
    review_set = open_review(drawn.name)
    assert everything(review_set) == before
    assert review_set.list_saved_views() == views


def test_only_the_split_that_changed_is_written_again(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    run = make_run(drawn, splits=("test",), seed=5)
    report = write_run(run, drawn)
    assert (report.added, report.updated, report.unchanged) == (0, 6, 18)
    record = drawn.split("test")[0]
    logits = review_set.one(_is(record.id)).run_one_prediction.logits
    assert logits == pytest.approx(_row(run, "test", record.id)["logits"])


def test_the_reviewers_work_survives_new_predictions(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    import fiftyone as fo

    tagged, edited, target, dragged, marked = (review_set.one(_is(r.id)) for r in drawn.records[:5])
    tagged.tags = ["relabel", "mine"]
    tagged.run_one_prediction.tags = ["look"]
    tagged.run_one_rectangle.polylines[0].tags = ["odd"]
    edited.ground_truth.label = "crow" if edited.original_label != "crow" else "blue tit"
    target.attention_target = fo.Detections(
        detections=[fo.Detection(label="target", bounding_box=[0.1, 0.2, 0.3, 0.4])]
    )
    dragged.run_one_attention.detections[0].bounding_box = [0.5, 0.5, 0.2, 0.2]
    marked.review = "wrong place"
    for sample in (tagged, edited, target, dragged, marked):
        sample.save()
    label = edited.ground_truth.label

    run = make_run(drawn, seed=9, shift=4.0)
    report = write_run(run, drawn)

    assert (report.updated, report.kept) == (24, 1)
    tagged, edited, target, dragged, marked = (review_set.one(_is(r.id)) for r in drawn.records[:5])
    assert tagged.tags == ["relabel", "mine"]
    assert tagged.run_one_prediction.tags == ["look"]
    assert tagged.run_one_rectangle.polylines[0].tags == ["odd"]
    assert edited.ground_truth.label == label
    assert target.attention_target.detections[0].bounding_box == [0.1, 0.2, 0.3, 0.4]
    assert dragged.run_one_attention.detections[0].bounding_box == [0.5, 0.5, 0.2, 0.2]
    assert marked.review == "wrong place"
    moved_on = [s.run_one_attention.detections[0].cx for s in (tagged, edited, target, marked)]
    rows = [_row(run, r.split, r.id)["cx"] for r in (drawn.records[i] for i in (0, 1, 2, 4))]
    assert moved_on == pytest.approx(rows), "unmoved rectangles show the new predictions"


def test_two_runs_lie_side_by_side(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    before = everything(review_set)
    write_run(make_run(drawn, name="run two", seed=3, attention=False), drawn, key="second")
    after = everything(review_set)
    for record_id, stored in before.items():
        assert {k: after[record_id][k] for k in stored} == stored
        assert "second_prediction" in after[record_id]


def test_a_model_without_attention_has_no_rectangle(drawn: Dataset, make_run: MakeRun) -> None:
    write_run(make_run(drawn, attention=False), drawn)
    review_set = open_review(drawn.name)
    assert review_set.count("run_one_prediction") == 24
    assert review_set.count("run_one_attention.detections") == review_set.count("run_one_rectangle.polylines") == 0


def test_rectangles_are_removed_when_the_run_has_none(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    write_run(make_run(drawn, attention=False), drawn)
    assert review_set.count("run_one_rectangle.polylines") == 0


def test_labels_follow_the_files_unless_they_were_edited(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    reviewer_edits, files = drawn.records[0], drawn.records[3]
    sample = review_set.one(_is(reviewer_edits.id))
    sample.ground_truth.label = "crow"
    sample.save()
    changed = relabelled(relabelled(drawn, reviewer_edits.id, "blue tit"), files.id, "blue tit")
    report = write_run(make_run(drawn), changed)
    assert report.followed == 2
    edited, followed = review_set.one(_is(reviewer_edits.id)), review_set.one(_is(files.id))
    assert (edited.ground_truth.label, edited.original_label) == ("crow", "blue tit")
    assert (followed.ground_truth.label, followed.original_label) == ("blue tit", "blue tit")


def test_paths_sizes_splits_boxes_and_classes_follow_the_files(
    drawn: Dataset, make_run: MakeRun, review_set: Any, tmp_path: Path
) -> None:
    first = drawn.records[0]
    moved = Path(shutil.copy(first.path, tmp_path / "verschoben – größer.png"))
    new = replace(
        first, path=moved, split="val", width=480, height=320, boxes=((-40.0, 10.0, 80.0, 60.0), (0, 0, 9, 9))
    )
    changed = replace(drawn, records=(new, *drawn.records[1:]), classes=(*drawn.classes, "dodo"))
    assert write_run(make_run(drawn), changed).followed == 1
    review_set.reload()
    sample = review_set.one(_is(first.id))
    assert (sample.filepath, sample.split, sample.metadata.width) == (str(moved), "val", 480)
    boxes = [d.bounding_box for d in sample.ground_truth_boxes.detections]
    assert boxes[0] == pytest.approx([0, 10 / 320, 40 / 480, 60 / 320]), "boxes end at the image's edge"
    assert len(boxes) == 2
    assert review_set.classes["ground_truth"][-1] == "dodo"


def test_vanished_records_are_reported_and_stay(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    fewer = replace(drawn, records=drawn.records[2:])
    report = write_run(make_run(drawn, seed=1), fewer)
    assert report.vanished == sorted(r.id for r in drawn.records[:2])
    assert report.updated == 22
    assert len(review_set) == 24


def test_predictions_of_other_images_alone_are_reported(drawn: Dataset, make_run: MakeRun) -> None:
    renamed = replace(drawn, records=tuple(replace(record, id=f"new {record.id}") for record in drawn.records))
    report = write_run(make_run(drawn), renamed)
    assert (report.added, len(report.vanished)) == (0, 24)


def test_an_interrupted_write_is_completed(drawn: Dataset, make_run: MakeRun, fiftyone_module: ModuleType) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    run = make_run(drawn)
    with pytest.raises(KeyboardInterrupt):
        write_run(run, drawn, progress=stop)
    review_set = open_review(drawn.name)
    report = write_run(run, drawn)
    assert report.added + report.updated + report.unchanged == 24
    assert len(review_set) == review_set.count("ground_truth") == review_set.count("run_one_prediction") == 24


def test_a_new_database_shows_earlier_corrections(drawn: Dataset, make_run: MakeRun) -> None:
    run = make_run(drawn)
    label, box, gone = (r.id for r in drawn.records[:3])
    new = [
        Correction(label, "label", drawn.records[0].label, "crow", "ann", "2026-01-01T00:00:00Z", "run_one"),
        Correction(box, "rectangle", "", json.dumps([120, 80, 60, 30, 0.5]), "ann", "2026-01-01T00:00:00Z", "run_one"),
        Correction(gone, "exclude", "false", "true", "ann", "2026-01-01T00:00:00Z", "run_one"),
    ]
    add_corrections(corrections_path(run.path, drawn.name), new)
    write_run(run, drawn)
    review_set = open_review(drawn.name)
    assert review_set.one(_is(label)).ground_truth.label == "crow"
    assert review_set.one(_is(box)).attention_target.detections[0].angle == 0.5
    assert review_set.one(_is(gone)).review == "exclude"


def test_many_rows_go_in_chunks(drawn: Dataset, make_run: MakeRun) -> None:
    count = CHUNK + CHUNK // 2
    records = tuple(replace(drawn.records[i % 24], id=f"{i}.png", split="test") for i in range(count))
    large = replace(drawn, records=records)
    steps: list[tuple[int, int]] = []
    run = make_run(large, splits=("test",))
    report = write_run(run, large, progress=lambda done, total: steps.append((done, total)))
    assert report.added == count
    assert steps == [(CHUNK, count), (count, count)]
    review_set = open_review(drawn.name)
    stored = dict(zip(*review_set.values(["record_id", "run_one_misattention"]), strict=True))
    table = pq.read_table(run.predictions / "test.parquet")
    rows = dict(zip(table["id"].to_pylist(), table["misattention"].to_pylist(), strict=True))
    assert stored == pytest.approx(rows)


def test_a_score_that_is_not_finite_is_empty(drawn: Dataset, make_run: MakeRun) -> None:
    run = make_run(drawn, splits=("test",))
    path = run.predictions / "test.parquet"
    table = pq.read_table(path)
    scores = pa.array([math.nan, math.inf, None, 0.5, 0.5, 0.5], pa.float32())
    place = table.column_names.index("misattention")
    pq.write_table(table.set_column(place, "misattention", scores), path)
    write_run(run, drawn)
    assert open_review(drawn.name).bounds("run_one_misattention") == (0.5, 0.5)


def test_user_errors_are_reported(drawn: Dataset, make_run: MakeRun, fiftyone_module: ModuleType) -> None:
    run = make_run(drawn)
    with pytest.raises(UserError, match=r"review key '2 runs'"):
        write_run(run, drawn, key="2 runs")
    with pytest.raises(UserError, match=r"no predictions.*rsam predict"):
        write_run(RunFolder(run.path.with_name("empty")), drawn)
    fiftyone_module.Dataset(drawn.name)
    with pytest.raises(UserError, match=r"did not create; it is unchanged"):
        write_run(run, drawn)
    fiftyone_module.delete_dataset(drawn.name)
    write_run(run, drawn, key="mine")
    other = make_run(drawn, name="other")
    with pytest.raises(UserError, match=r"mine_\* .* belong to the run(?s:.*)another name"):
        write_run(other, drawn, key="mine")
    (run.predictions / "train.parquet").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"train\.parquet: is not a predictions table"):
        write_run(run, drawn)


def test_a_users_field_of_the_same_name_is_not_overwritten(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    import fiftyone as fo

    review_set.add_sample_field("second_misattention", fo.StringField)
    with pytest.raises(UserError, match=r"second_misattention.*another type"):
        write_run(make_run(drawn, name="run two"), drawn, key="second")


def _is(record_id: str) -> Any:
    from fiftyone import ViewField as F

    return F("record_id") == record_id


def _row(run: RunFolder, split: str, record_id: str) -> dict[str, Any]:
    table = pq.read_table(run.predictions / f"{split}.parquet")
    return table.slice(table["id"].to_pylist().index(record_id), 1).to_pylist()[0]
