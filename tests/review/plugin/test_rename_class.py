"""Classes renamed and merged in the App: fields, the corrections table, undo, and another write of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from rsam_app.data.records import Dataset
from rsam_app.review.app.install_plugin import link_plugin
from rsam_app.review.decisions.apply import apply_to, undo_last
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.corrections import apply_corrections, corrections_path, read_corrections
from rsam_app.run.folder import RunFolder

MakeRun = Callable[..., RunFolder]
FILED = ("Ärger Finch", "blue tit", "crow")


@pytest.fixture(autouse=True)
def plugin(fiftyone_module: Any) -> None:
    link_plugin()


def rename(review_set: Any, name: str, typed: str, **params: Any) -> Any:
    import fiftyone.operators as foo

    ctx = {"dataset": review_set, "params": {"class": name, "name": typed, **params}}
    result = foo.execute_operator("@rsam/review/rename_class", ctx=ctx).result
    review_set.reload()
    return result


def labels(review_set: Any, field: str = "ground_truth.label") -> Counter[str]:
    return Counter(review_set.values(field))


def test_a_renamed_class_has_its_name_in_all_splits_and_in_the_predictions(
    drawn: Dataset, make_run: MakeRun, review_set: Any
) -> None:
    run, before = make_run(drawn), labels(review_set)
    predicted = labels(review_set, "run_one_prediction.label")
    assert rename(review_set, "crow", " carrion  crow ") == {"name": "carrion crow", "images": before["crow"]}
    classes = ["Ärger Finch", "blue tit", "carrion crow"]
    assert review_set.classes["ground_truth"] == classes
    assert review_set.label_schemas["ground_truth"]["classes"] == classes
    after = {("carrion crow" if name == "crow" else name): n for name, n in before.items()}
    assert labels(review_set) == labels(review_set, "original_label") == after
    assert labels(review_set, "run_one_prediction.label")["carrion crow"] == predicted["crow"] > 0
    assert review_set.load_saved_view("run_one wrong").count() == sum(
        row.ground_truth.label != row.run_one_prediction.label for row in review_set
    )

    write_run(run, drawn)
    review_set.reload()
    assert labels(review_set) == after, "not applied yet, and still there when the run is written again"
    report = apply_to(run, drawn.name, "run_one", "Ann")
    assert [(c.id, c.kind, c.before, c.after) for c in report.added] == [("crow", "class", "crow", "carrion crow")]
    assert apply_to(run, drawn.name, "run_one", "Ann").added == []
    corrected = apply_corrections(drawn, read_corrections(corrections_path(run.path, drawn.name))).dataset
    assert corrected.classes == tuple(classes)
    assert Counter(r.label for r in corrected.records) == after

    undo_last(run, drawn.name, "run_one", "Ann")
    review_set.reload()
    assert (labels(review_set), labels(review_set, "run_one_prediction.label")) == (before, predicted)
    assert review_set.classes["ground_truth"] == list(FILED)
    assert apply_to(run, drawn.name, "run_one", "Ann").added == []


def test_merged_classes_are_told_apart_again_after_an_undo(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    import fiftyone as fo

    run, before = make_run(drawn), labels(review_set)
    predicted = labels(review_set, "run_one_prediction.label")
    chosen = review_set.match({"ground_truth.label": "blue tit"}).first()
    chosen["ground_truth"] = fo.Classification(label="crow")
    chosen.save()
    refused = rename(review_set, "crow", "BLUE tit")["error"]
    assert refused == (
        f"'blue tit' is another class, of {before['blue tit'] - 1} images. Tick 'Merge' to make it one with 'crow'."
    )
    both = before["crow"] + before["blue tit"]
    assert rename(review_set, "crow", "BLUE tit", merge=True) == {"name": "blue tit", "images": before["crow"] + 1}
    assert labels(review_set) == {"blue tit": both, "Ärger Finch": before["Ärger Finch"]}
    assert review_set.classes["ground_truth"] == ["Ärger Finch", "blue tit"]
    assert "is the earlier name of 'blue tit'" in rename(review_set, "Ärger Finch", "crow")["error"]
    assert "a model needs two" in rename(review_set, "Ärger Finch", "blue tit", merge=True)["error"]
    assert "has that name already" in rename(review_set, "blue tit", "blue tit")["error"]
    assert "is not a name" in rename(review_set, "blue tit", "  ")["error"]
    assert "is not a class" in rename(review_set, "crow", "raven")["error"]

    report = apply_to(run, drawn.name, "run_one", "Ann")
    assert [(c.id, c.before, c.after) for c in report.added] == [("crow", "crow", "blue tit")]
    fo.delete_dataset(drawn.name)
    write_run(run, drawn)
    merged = fo.load_dataset(drawn.name)
    assert labels(merged) == {"blue tit": both, "Ärger Finch": before["Ärger Finch"]}, "from the corrections"
    assert "crow" not in labels(merged, "run_one_prediction.label")

    undo_last(run, drawn.name, "run_one", "Ann")
    write_run(run, drawn)
    merged.reload()
    assert (labels(merged), labels(merged, "run_one_prediction.label")) == (before, predicted)
    assert merged.classes["ground_truth"] == list(FILED)
