"""Derived fields in the real database: computed once, live, and never over the reviewer's work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from rsam_app.data.near_duplicates.table import near_duplicates, predicted_records
from rsam_app.data.records import Dataset
from rsam_app.review.analysis.derived_fields import confusion_pairs, map_name
from rsam_app.review.analysis.fiftyone_runs import has_umap
from rsam_app.review.dataset.schema import open_review
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_predictions, write_predictions

MakeRun = Callable[..., RunFolder]


def with_embeddings(run: RunFolder, seed: int = 0) -> RunFolder:
    """Random embeddings beside a run's tables."""
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        table = read_predictions(run.predictions, [split])
        write_predictions(run.predictions / f"{split}.parquet", table, rng.normal(size=(table.num_rows, 32)))
    return run


@pytest.fixture
def leaking(drawn: Dataset, tmp_path: Path) -> Dataset:
    """Photographs instead of drawings: different noise at many scales, except that one of the training images is in
    the test split again, in a mirror and recompressed, that two of the training images are one, and that one file is
    gone."""
    rng = np.random.default_rng(0)
    records = []
    for number, record in enumerate(drawn.records):
        pixels = np.zeros((120, 180, 3))
        for cells in (4, 12, 36):
            noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            pixels += np.asarray(noise.resize((180, 120), Image.Resampling.BICUBIC), dtype=float) / 3
        path = tmp_path / "photographs" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        records.append(replace(record, path=path))
    train, test = (tuple(r for r in records if r.split == split) for split in ("train", "test"))
    with Image.open(train[0].path) as image:
        ImageOps.mirror(image).save(test[0].path, quality=50)
    shutil.copyfile(train[3].path, train[5].path)
    test[-1].path.unlink()
    return replace(drawn, records=tuple(records))


def test_near_duplicates_and_leaks_are_shown(leaking: Dataset, make_run: MakeRun) -> None:
    steps: list[str] = []
    run = with_embeddings(make_run(leaking))
    report = write_run(run, leaking, comparing=lambda what, done, total: steps.append(what))
    train, test = leaking.split("train"), leaking.split("test")
    (note,) = report.notes
    assert note.startswith("1 of 24 images") and str(test[-1].path) in note
    assert "reading images" in steps
    review_set = open_review(leaking.name)
    leaked, twice = {train[0].id, test[0].id}, {train[3].id, train[5].id}
    shown = review_set.load_saved_view("run_one near-duplicates").values("record_id")
    assert {*shown[:2]} in (leaked, twice) and {*shown[2:]} in (leaked, twice) and len(shown) == 4
    assert set(review_set.load_saved_view("run_one split leakage").values("record_id")) == leaked
    values = review_set.match({"record_id": {"$in": sorted(leaked)}}).values(["run_one_near_duplicate", "run_one_leak"])
    assert values[0] == values[1] and all(0.92 <= value <= 1 for value in values[0])
    groups = review_set.count_values("run_one_duplicate_group")
    assert groups.pop(None) == 20 and list(groups.values()) == [2, 2]
    assert all(group & set(groups) for group in (leaked, twice)), "named after one of its own"


def test_near_duplicates_that_the_run_keeps_are_read_and_follow_the_files(leaking: Dataset, make_run: MakeRun) -> None:
    run = make_run(leaking)
    predicted = predicted_records(leaking, read_predictions(run.predictions).column("id").to_pylist())
    near_duplicates(run.near_duplicates, predicted, leaking.records)
    steps: list[str] = []
    report = write_run(run, leaking, comparing=lambda what, done, total: steps.append(what))
    assert steps == [] and any(note.startswith("1 of 24 images") for note in report.notes)
    review_set = open_review(leaking.name)
    assert len(review_set.load_saved_view("run_one near-duplicates")) == 4
    train, test = leaking.split("train"), leaking.split("test")
    shutil.copyfile(train[7].path, test[0].path)
    write_run(run, leaking, comparing=lambda what, done, total: steps.append(what))
    assert "comparing near-duplicates" in steps or "looking for near-duplicates" in steps
    leaked = review_set.load_saved_view("run_one split leakage").values("record_id")
    assert set(leaked) == {train[7].id, test[0].id}, "the one before is no leak any more"


def test_the_map_and_the_nearest_of_the_embeddings_are_written(drawn: Dataset, make_run: MakeRun) -> None:
    write_run(with_embeddings(make_run(drawn)), drawn)
    review_set = open_review(drawn.name)
    assert map_name("run_one") in review_set.list_brain_runs()
    points = review_set.load_brain_results(map_name("run_one"))
    assert points.points.shape == (24, 2)
    assert all(-1 <= cosine <= 1 for cosine in review_set.values("run_one_nearest"))
    assert not any(field.endswith("embeddings") for field in review_set.get_field_schema())
    panels = review_set.load_workspace("run_one review").to_dict()
    assert {"Samples", "Histograms", "Embeddings"} <= set(_types(panels))


def test_what_did_not_change_is_not_computed_again(drawn: Dataset, make_run: MakeRun) -> None:
    run = with_embeddings(make_run(drawn))
    write_run(run, drawn)
    made = open_review(drawn.name).get_brain_info(map_name("run_one")).timestamp
    write_run(run, drawn)
    assert open_review(drawn.name).get_brain_info(map_name("run_one")).timestamp == made
    write_run(with_embeddings(run, seed=1), drawn)
    assert open_review(drawn.name).get_brain_info(map_name("run_one")).timestamp > made


def test_fiftyones_own_panels_find_the_run(drawn: Dataset, make_run: MakeRun) -> None:
    run = with_embeddings(make_run(drawn))
    write_run(run, drawn, all_panels=True)
    review_set = open_review(drawn.name)
    assert review_set.list_evaluations() == ["run_one", "run_one_boxes"]
    table = read_predictions(run.predictions, ["test"])
    right = np.array(table.column("label").to_pylist()) == np.array(table.column("predicted").to_pylist())
    assert review_set.load_evaluation_results("run_one").metrics()["accuracy"] == pytest.approx(right.mean())
    assert review_set.match({"split": "test"}).values("run_one") == right.tolist()
    matched, missed = (sum(n or 0 for n in review_set.values(f"run_one_boxes_{kind}")) for kind in ("tp", "fn"))
    assert matched + missed == len(right) and matched > 0
    names = ("embeddings", "similarity", *(["umap"] if has_umap() else []), "uniqueness")
    registered = [f"run_one_{name}" for name in names]
    assert sorted(review_set.list_brain_runs()) == registered
    first = review_set.first().id
    assert review_set.sort_by_similarity(first, k=2, brain_key="run_one_similarity").values("id")[0] == first
    least, most = review_set.bounds("run_one_uniqueness")
    assert 0 < least < most == 1

    review_set.delete_evaluation("run_one")
    write_run(run, drawn, all_panels=True)
    assert open_review(drawn.name).list_evaluations() == ["run_one_boxes"], "what was deleted stays deleted"
    changed = open_review(drawn.name).match({"split": "test", "run_one_prediction.label": "crow"}).first()
    changed.ground_truth.label = "crow" if changed.ground_truth.label != "crow" else "blue tit"
    changed.save()
    write_run(run, drawn)
    review_set = open_review(drawn.name)
    assert review_set[changed.id]["run_one"] is (changed.ground_truth.label == "crow"), "until a label changes"


def test_a_field_with_the_runs_key_is_left_alone(drawn: Dataset, make_run: MakeRun) -> None:
    import fiftyone as fo

    run = make_run(drawn)
    write_run(run, drawn)
    review_set = open_review(drawn.name)
    review_set.delete_evaluation("run_one")
    review_set.add_sample_field("run_one", fo.StringField)
    sample = review_set.match({"split": "test"}).first()
    sample["run_one"], sample.ground_truth.label = "mine", "crow" if sample.ground_truth.label != "crow" else "blue tit"
    sample.save()
    report = write_run(run, drawn)
    assert "no evaluation in FiftyOne: the dataset has a field 'run_one' of its own" in report.notes
    assert open_review(drawn.name)[sample.id]["run_one"] == "mine"


def test_missing_embeddings_are_reported(drawn: Dataset, make_run: MakeRun) -> None:
    report = write_run(make_run(drawn), drawn)
    assert len(report.notes) == 1 and "rsam predict" in report.notes[0]
    assert "run_one near-duplicates" in open_review(drawn.name).list_saved_views(), "they need only the images"


def rows(pairs: list[tuple[str, str, str]]) -> pa.Table:
    names = ("label", "predicted", "split")
    return pa.table({name: [pair[i] for pair in pairs] for i, name in enumerate(names)})


def test_pairs_are_counted_either_way_on_held_out_images() -> None:
    test = [("a", "b", "test")] * 3 + [("b", "a", "test")] * 2 + [("c", "a", "test")] * 3 + [("a", "a", "test")] * 9
    train = [("b", "c", "train")] * 50
    assert confusion_pairs(rows([*test, *train])) == [["a", "b"], ["a", "c"]]
    assert confusion_pairs(rows(train)) == [["b", "c"]]
    assert confusion_pairs(rows([("a", "b", "test")] * 2)) == []


def test_views_of_pairs_follow_the_run_unless_edited(drawn: Dataset, make_run: MakeRun) -> None:
    run, (first, second, third) = make_run(drawn), sorted(drawn.classes)
    _confuse(run, first, second)
    write_run(run, drawn)
    review_set = open_review(drawn.name)
    name = f"run_one {first} / {second}"
    view = review_set.load_saved_view(name)
    assert len(view) > 0
    for label, predicted in zip(*view.values(["ground_truth.label", "run_one_prediction.label"]), strict=True):
        assert {label, predicted} == {first, second}
    _confuse(run, second, third)
    write_run(run, drawn)
    names = open_review(drawn.name).list_saved_views()
    assert name not in names and f"run_one {second} / {third}" in names
    review_set = open_review(drawn.name)
    review_set.save_view(f"run_one {second} / {third}", review_set.limit(2), overwrite=True)
    _confuse(run, first, second)
    write_run(run, drawn)
    names = open_review(drawn.name).list_saved_views()
    assert name in names and f"run_one {second} / {third}" in names, "an edited view stays"


def _confuse(run: RunFolder, first: str, second: str) -> None:
    """Let the run confuse all test images of these two classes, and no others."""
    other = {first: second, second: first}
    for split in ("train", "test"):
        table = read_predictions(run.predictions, [split])
        labels = table.column("label").to_pylist()
        predictions = [other.get(label, label) if split == "test" else label for label in labels]
        place = table.column_names.index("predicted")
        table = table.set_column(place, "predicted", pa.array(predictions))
        write_predictions(run.predictions / f"{split}.parquet", table)


def _types(space: Any) -> list[str]:
    if isinstance(space, dict):
        here = [space["type"]] if isinstance(space.get("type"), str) else []
        return here + [name for value in space.values() for name in _types(value)]
    return [name for value in space for name in _types(value)] if isinstance(space, list) else []
