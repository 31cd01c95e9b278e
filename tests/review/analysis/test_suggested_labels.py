"""Suggested labels: on the image, in the panel, and accepted by the reviewer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rsam_app.data.records import Dataset
from rsam_app.review.analysis.suggested_labels import suggestions
from rsam_app.review.app.review_queue import explain, queue_of
from rsam_app.review.dataset.schema import open_review
from rsam_app.review.decisions.marks import mark, undo
from rsam_app.review.decisions.read import read_decisions
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder
from rsam_app.selection import select
from rsam_app.system.errors import UserError

MakeRun = Callable[..., RunFolder]


def keep_beliefs(run: RunFolder, dataset: Dataset) -> None:
    """Files of a training: random probabilities of all training images but the last, and the model's class names."""
    ids = [record.id for record in dataset.split("train")][:-1]
    run.training_records.write_text(json.dumps(ids), encoding="utf-8")
    beliefs = np.random.default_rng(3).dirichlet(np.ones(len(dataset.classes)), len(ids))
    np.save(run.held_out_probabilities, beliefs.astype(np.float16))
    run.model.mkdir()
    config = {"label_names": list(dataset.classes), "pretrained_cfg": {}}
    (run.model / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_suggestions_equal_those_of_the_selection(drawn: Dataset, make_run: MakeRun) -> None:
    run = make_run(drawn)
    keep_beliefs(run, drawn)
    write_run(run, drawn)
    review_set = open_review(drawn.name)
    shown = suggestions(review_set, review_set.values("id"), "run_one")
    names = dict(zip(*review_set.values(["id", "record_id"]), strict=True))
    queue = io.StringIO(select(run, "entropy", 24, "all", 0).csv.read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in csv.DictReader(queue) if row["suggested"]}
    assert {names[i]: found.label for i, found in shown.items()} == {i: row["suggested"] for i, row in rows.items()}
    for sample_id, found in shown.items():
        assert found.probability == pytest.approx(float(rows[names[sample_id]]["suggested_probability"]), abs=1e-5)
    predicted = dict(zip(*review_set.values(["id", "run_one_prediction.label"]), strict=True))
    assert any(found.label != predicted[i] for i, found in shown.items()), "beliefs of training images go before"


def test_suggestions_follow_new_predictions(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    before = suggestions(review_set, review_set.values("id"), "run_one")
    write_run(make_run(drawn, seed=1), drawn)
    after = suggestions(open_review(drawn.name), review_set.values("id"), "run_one")
    assert before.keys() != after.keys()
    rows = zip(*review_set.values(["id", "ground_truth.label", "run_one_prediction.label"]), strict=True)
    assert {i: found.label for i, found in after.items()} == {
        i: predicted for i, given, predicted in rows if predicted != given
    }


def suggested(review_set: Any, number: int) -> list[str]:
    return list(suggestions(review_set, queue_of(review_set, None, "run_one").values("id"), "run_one"))[:number]


def test_an_accepted_label_is_a_decision_and_can_be_undone(review_set: Any) -> None:
    first, second = suggested(review_set, 2)
    before = review_set.select([first, second]).values(["review", "ground_truth"])
    label = suggestions(review_set, [first], "run_one")[first].label
    mark(review_set, [first], "wrong label", "run_one", labels={first: label})
    assert review_set[first].ground_truth.label == label
    assert suggestions(review_set, [first], "run_one") == {}, "it says so already"
    (correction,) = read_decisions(review_set.name, "run_one", "ann").corrections
    assert (correction.kind, correction.before, correction.after) == ("label", review_set[first].original_label, label)
    assert undo(review_set).ids == [first]
    assert review_set.select([first, second]).values(["review", "ground_truth"]) == before


def test_a_label_corrected_since_is_not_changed(review_set: Any) -> None:
    (first,) = suggested(review_set, 1)
    given = review_set[first].ground_truth.label
    mark(review_set, [first], "wrong label", "run_one")
    _set_label(review_set, first, "crow" if given != "crow" else "blue tit")
    assert undo(review_set).ids == [first], "the mark alone is taken back"
    mark(review_set, [first], "wrong label", "run_one", labels={first: given})
    _set_label(review_set, first, "crow" if given != "crow" else "blue tit")
    assert undo(review_set).ids == []
    with pytest.raises(UserError, match="no mark of yours"):
        undo(review_set)


def _set_label(review_set: Any, sample_id: str, label: str) -> None:
    sample = review_set[sample_id]
    sample.ground_truth.label = label
    sample.save()


def test_the_reason_names_the_suggestion_once(review_set: Any) -> None:
    (first,) = suggested(review_set, 1)
    queue = queue_of(review_set, None, "run_one")
    reason = explain(review_set, queue, first, "run_one")
    assert reason.suggested == review_set[first].run_one_prediction.label
    assert not any("Ignoring the given label" in line for line in reason.lines), "it is what the model says"
    review_set.set_values("run_one_suggested", {first: "crow"}, key_field="id")
    review_set.set_values("run_one_suggested_probability", {first: 0.64}, key_field="id")
    _set_label(review_set, first, "blue tit")
    reason = explain(review_set, queue, first, "run_one")
    assert reason.suggested == "crow"
    assert "Ignoring the given label, the likely class is **crow** (64 %)." in reason.lines
