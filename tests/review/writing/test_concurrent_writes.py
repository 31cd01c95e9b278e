"""Writing while the reviewer works in the App, while another process writes, and after being killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsam_app.data.records import Dataset
from rsam_app.review.dataset import label_documents
from rsam_app.review.dataset.compare_and_set import Change, compare_and_set, update
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.schema import memory, open_review
from rsam_app.review.writing import row_writer
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

MakeRun = Callable[..., RunFolder]


def stored(review_set: Any) -> dict[str, dict[str, Any]]:
    return {s["record_id"]: s for s in sample_collection(review_set).find()}


def edit(review_set: Any, record_id: str, **changes: Any) -> None:
    """Change a sample as the App's server does."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    sample_collection(review_set).update_one({"record_id": record_id}, {"$set": dotted})


def test_edits_between_reading_and_writing_are_not_lost(
    drawn: Dataset, make_run: MakeRun, review_set: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged, dragged, drawn_in, other = (r.id for r in drawn.records[:4])
    real, calls = row_writer.RowWriter._changes, []

    def edit_after_reading(self: Any, *arguments: Any) -> Any:
        changes = real(self, *arguments)
        if not calls:
            edit(review_set, tagged, run_one_prediction__tags=["odd"], tags=["mine"])
            edit(review_set, dragged, run_one_attention__detections__0__bounding_box=[0.5, 0.5, 0.2, 0.2])
            box = {"_cls": "Detection", "label": "target", "bounding_box": [0.1, 0.1, 0.2, 0.2]}
            edit(review_set, drawn_in, attention_target={"_cls": "Detections", "detections": [box]})
        calls.append(len(changes))
        return changes

    monkeypatch.setattr(row_writer.RowWriter, "_changes", edit_after_reading)
    run = make_run(drawn, splits=("train",), seed=9, shift=4.0)
    report = write_run(run, drawn)

    assert (report.updated, report.kept) == (18, 1)
    assert calls == [18, 2], "only the two samples whose labels were edited are compared again"
    after = stored(review_set)
    assert after[tagged]["tags"] == ["mine"]
    assert after[tagged]["run_one_prediction"]["tags"] == ["odd"]
    assert after[dragged]["run_one_attention"]["detections"][0]["bounding_box"] == [0.5, 0.5, 0.2, 0.2]
    assert after[drawn_in]["attention_target"]["detections"][0]["bounding_box"] == [0.1, 0.1, 0.2, 0.2]
    table = pq.read_table(run.predictions / "train.parquet").to_pylist()
    expected = {row["id"]: row for row in table}
    for record_id in (tagged, dragged, drawn_in, other):
        assert after[record_id]["run_one_misattention"] == expected[record_id]["misattention"]
        assert after[record_id]["run_one_prediction"]["confidence"] == expected[record_id]["confidence"]


def test_an_edited_label_is_not_overwritten(
    drawn: Dataset, make_run: MakeRun, review_set: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsam_app.review.dataset.samples import Samples

    record, real, calls = drawn.records[0], Samples._outdated, []

    def edit_after_reading(self: Any, records: Any) -> Any:
        changes = real(self, records)
        if not calls:
            edit(review_set, record.id, ground_truth__label="crow")
        calls.append(len(changes))
        return changes

    monkeypatch.setattr(Samples, "_outdated", edit_after_reading)
    changed = replace(drawn, records=(replace(record, label="blue tit"), *drawn.records[1:]))
    write_run(make_run(drawn), changed)
    after = stored(review_set)[record.id]
    assert (after["ground_truth"]["label"], after["original_label"]) == ("crow", "blue tit")


def test_labels_keep_their_ids_and_foreign_attributes(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    first, second = drawn.records[:2]
    edit(review_set, first.id, run_one_attention__detections__0__eval_iou=0.5)
    shape = {"_cls": "Polyline", "tags": [], "label": "wing", "points": [[[0.1, 0.1], [0.2, 0.2]]]}
    sample_collection(review_set).update_one(
        {"record_id": second.id}, {"$push": {"run_one_rectangle.polylines": shape}}
    )
    before = stored(review_set)
    write_run(make_run(drawn, seed=4, shift=2.0), drawn)
    after = stored(review_set)
    for record in drawn.records:
        old, new = before[record.id], after[record.id]
        assert new["run_one_prediction"]["_id"] == old["run_one_prediction"]["_id"]
        for field, kind in (("attention", "detections"), ("rectangle", "polylines")):
            held, now = (sample[f"run_one_{field}"][kind][0] for sample in (old, new))
            assert now["_id"] == held["_id"]
            assert now != held, "the rectangle did move"
    assert after[first.id]["run_one_attention"]["detections"][0]["eval_iou"] == 0.5
    assert [p["label"] for p in after[second.id]["run_one_rectangle"]["polylines"]][1:] == ["wing"]


def test_a_new_file_with_the_same_rows_changes_nothing(drawn: Dataset, make_run: MakeRun) -> None:
    run = make_run(drawn)
    write_run(run, drawn)
    review_set = open_review(drawn.name)
    before = stored(review_set)
    path = run.predictions / "train.parquet"
    old = path.read_bytes()
    pq.write_table(pq.read_table(path), path, row_group_size=5, compression="none")
    assert path.read_bytes() != old
    report = write_run(run, drawn)
    assert (report.added, report.updated, report.unchanged) == (0, 0, 24)
    assert stored(review_set) == before


def test_only_different_values_are_written(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    run = make_run(drawn)
    path = run.predictions / "train.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[2]["misattention"] = 0.125
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)
    before = stored(review_set)
    report = write_run(run, drawn)
    assert (report.updated, report.unchanged) == (1, 23)
    after = stored(review_set)
    changed = {i for i in before if before[i] != after[i]}
    assert changed == {rows[2]["id"]}
    old, new = before[rows[2]["id"]], after[rows[2]["id"]]
    assert {k for k in new if new[k] != old[k]} == {"run_one_misattention", "last_modified_at"}
    assert new["created_at"] == old["created_at"] < new["last_modified_at"]


def test_records_added_by_another_process_are_not_duplicated(
    drawn: Dataset, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = row_writer.insert, []

    def insert_others_first(collection: Any, documents: list[dict[str, Any]]) -> int:
        if not calls:
            calls.append(1)
            others = [{k: v for k, v in d.items() if not k.startswith("run_one_")} for d in documents[:5]]
            assert real(collection, others) == 5
        return real(collection, documents)

    monkeypatch.setattr(row_writer, "insert", insert_others_first)
    report = write_run(make_run(drawn), drawn)
    assert (report.added, report.updated) == (19, 5)
    review_set = open_review(drawn.name)
    assert len(review_set) == review_set.count("run_one_prediction") == 24


def test_attributes_that_another_fiftyone_adds_are_stored(
    drawn: Dataset, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fiftyone as fo

    real = fo.Polyline.__init__
    monkeypatch.setattr(fo.Polyline, "__init__", lambda self, *a, **k: real(self, *a, **{"render": "outline", **k}))
    monkeypatch.setattr(label_documents, "_templates", {})
    write_run(make_run(drawn), drawn)
    review_set = open_review(drawn.name)
    held = [s["run_one_rectangle"]["polylines"][0]["render"] for s in stored(review_set).values()]
    assert held == ["outline"] * 24
    assert write_run(make_run(drawn, seed=3), drawn).updated == 24
    held = [s["run_one_rectangle"]["polylines"][0]["render"] for s in stored(review_set).values()]
    assert held == ["outline"] * 24


def test_a_killed_write_is_completed(drawn: Dataset, make_run: MakeRun, tmp_path: Path) -> None:
    large = replace(
        drawn, records=tuple(replace(drawn.records[i % 24], id=f"{i}.png", split="train") for i in range(5000))
    )
    run = make_run(large, splits=("train",))
    script = tmp_path / "write.py"
    script.write_text(KILLED, encoding="utf-8")
    arguments = [sys.executable, str(script), str(run.path), drawn.name, str(drawn.records[0].path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("written")
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    review_set = open_review(drawn.name)
    half = len(review_set)
    assert 0 < half < 5000
    report = write_run(run, large)
    assert report.added == 5000 - half
    assert report.added + report.updated + report.unchanged == 5000
    assert len(review_set) == len(set(review_set.values("record_id"))) == 5000
    assert review_set.count("run_one_prediction") == review_set.count("ground_truth") == 5000
    assert len(memory(open_review(drawn.name)).runs["run_one"].predictions["train"]) == 3


KILLED = textwrap.dedent("""
    import sys
    from dataclasses import replace
    from pathlib import Path
    from rsam_app.data.records import Dataset, Record
    from rsam_app.review.writing.write_run import write_run
    from rsam_app.run.folder import RunFolder

    run, name, image = sys.argv[1:]
    records = tuple(Record(f"{i}.png", Path(image), "crow", "train", 240, 160) for i in range(5000))
    say = lambda done, total: print("written", done, flush=True)
    write_run(RunFolder(Path(run)), Dataset(name, records, ("Ärger Finch", "blue tit", "crow"), "CC0"), progress=say)
""")


@pytest.mark.parametrize("save", (1, 2, 3))
def test_a_dataset_whose_creation_was_killed_is_not_in_the_way(
    drawn: Dataset, make_run: MakeRun, tmp_path: Path, fiftyone_module: ModuleType, save: int
) -> None:
    script = tmp_path / "create.py"
    script.write_text(KILLED_CREATION, encoding="utf-8")
    killed = subprocess.run([sys.executable, str(script), drawn.name, str(save)], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert write_run(make_run(drawn), drawn).added == 24
    assert open_review(drawn.name).persistent


KILLED_CREATION = textwrap.dedent("""
    import os, signal, sys
    from rsam_app.data.records import Dataset
    from rsam_app.review.dataset.schema import create_or_open
    from rsam_app.system.mongodb.connection import import_fiftyone

    import_fiftyone()
    from fiftyone.core.odm import DatasetDocument

    real, saves = DatasetDocument.save, []

    def save(self, *arguments, **options):
        real(self, *arguments, **options)
        saves.append(1)
        if len(saves) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

    DatasetDocument.save = save
    create_or_open(Dataset(sys.argv[1], (), ("crow",), "CC0"))
""")


def test_two_runs_are_written_into_a_new_dataset_one_after_the_other(
    drawn: Dataset, make_run: MakeRun, tmp_path: Path
) -> None:
    script = tmp_path / "write.py"
    script.write_text(WRITTEN, encoding="utf-8")
    runs = [make_run(drawn, name) for name in ("run one", "run two")]
    folder = str(drawn.records[0].path.parent.parent)
    processes = [subprocess.Popen([sys.executable, str(script), str(run.path), drawn.name, folder]) for run in runs]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    review_set = open_review(drawn.name)
    assert review_set.count("run_one_prediction") == review_set.count("run_two_prediction") == len(review_set) == 24


WRITTEN = textwrap.dedent("""
    import sys
    from pathlib import Path
    from rsam_app.data.records import Dataset, Record
    from rsam_app.review.writing.write_run import write_run
    from rsam_app.run.folder import RunFolder

    run, name, images = sys.argv[1:]
    records = tuple(
        Record(f"{p.parent.name}/{p.name}", p, p.parent.name, "test" if p.stem > "Bild 17" else "train", 240, 160)
        for p in sorted(Path(images).glob("*/*"))
    )
    write_run(RunFolder(Path(run)), Dataset(name, records, ("Ärger Finch", "blue tit", "crow"), "CC0"))
""")


def test_giving_up_is_reported(review_set: Any) -> None:
    sample = sample_collection(review_set).find_one()
    stale = Change(sample["_id"], {"split": "another"}, {"split": "lost"})
    assert compare_and_set(sample_collection(review_set), [stale]) == 0
    with pytest.raises(UserError, match="faster than they can be written"):
        update(sample_collection(review_set), lambda: [stale])
    assert sample_collection(review_set).find_one({"_id": sample["_id"]})["split"] == sample["split"]
