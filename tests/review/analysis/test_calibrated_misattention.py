"""Calibrated misattention, learned from the reviewer's verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rsam_app.data.records import Dataset
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.analysis import calibrated_misattention
from rsam_app.review.analysis.calibrated_misattention import fit_verdicts, read_verdicts, write_calibrated
from rsam_app.review.dataset.targets import as_target
from rsam_app.run.folder import RunFolder

MakeRun = Callable[..., RunFolder]


def mark(review_set: Any, marks: list[str | None]) -> None:
    review_set.set_values("review", marks)


def test_marks_and_targets_are_verdicts(review_set: Any) -> None:
    mark(review_set, ["right", "wrong place", "accept", "wrong label", "unsure", None] + [None] * 18)
    ids = review_set.values("record_id")
    assert read_verdicts(review_set, "run_one") == {ids[0]: False, ids[1]: True, ids[2]: False}
    own, far = review_set.skip(4).limit(2)
    seen = own["run_one_attention"].detections[0]
    five = tuple(seen[name] for name in RECTANGLE_FIELDS)
    own["attention_target"] = as_target(five, 240, 160)
    far["attention_target"] = as_target((12.0, 12.0, 20.0, 20.0, 0.0), 240, 160)
    own.save()
    far.save()
    verdicts = read_verdicts(review_set, "run_one")
    assert verdicts[ids[4]] is False and verdicts[ids[5]] is True, "a target says more than a mark"


def test_a_dragged_rectangle_is_a_verdict(review_set: Any) -> None:
    sample = review_set.first()
    detection = sample["run_one_attention"].detections[0]
    x, y, width, height = detection.bounding_box
    detection.bounding_box = [max(0.0, x - 0.3) if x > 0.3 else x + 0.3, y, width, height]
    sample.save()
    assert read_verdicts(review_set, "run_one") == {sample["record_id"]: True}


def test_too_few_verdicts_make_no_field_and_a_reason(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    mark(review_set, ["wrong place"] * 24)
    made = write_calibrated(review_set, make_run(drawn), "run_one")
    assert made.auroc is None and "24 of 50" in made.text()
    assert not review_set.has_sample_field("run_one_misattention_calibrated")


def test_enough_verdicts_make_probabilities_and_withdrawing_them_empties_the_field(
    drawn: Dataset, make_run: MakeRun, review_set: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated_misattention, "MIN_VERDICTS", 20)
    mark(review_set, ["wrong place" if score < 0.9 else "right" for score in review_set.values("run_one_confidence")])
    made = write_calibrated(review_set, make_run(drawn), "run_one")
    assert made.verdicts == 24 and "one" not in made.missing
    assert made.auroc is None or made.auroc > 0.5
    monkeypatch.setattr(calibrated_misattention, "MIN_OF_EACH", 3)
    made = write_calibrated(review_set, make_run(drawn), "run_one")
    assert made.auroc is not None and made.auroc > 0.8, "the verdicts follow the confidence"
    rows = list(zip(*review_set.values(["review", "run_one_misattention_calibrated"]), strict=True))
    wrong, right = ([p for verdict, p in rows if verdict == v] for v in ("wrong place", "right"))
    assert all(0 <= p <= 1 for p in (*wrong, *right)) and np.mean(wrong) > np.mean(right)
    mark(review_set, [None] * 24)
    write_calibrated(review_set, make_run(drawn), "run_one")
    assert review_set.count("run_one_misattention_calibrated") == 0


def test_a_later_runs_rectangle_is_not_judged_by_marks_on_an_earlier_one(
    drawn: Dataset, make_run: MakeRun, review_set: Any
) -> None:
    from rsam_app.review.writing.write_run import write_run

    mark(review_set, ["right"] * 24)
    write_run(make_run(drawn, name="run two"), drawn)
    review_set.reload()
    assert read_verdicts(review_set, "run_one") == {}


def test_the_auroc_is_of_held_out_verdicts() -> None:
    rng = np.random.default_rng(0)
    noise, answers = rng.normal(size=(400, 6)), rng.integers(0, 2, 80)
    known = np.arange(80)
    assert abs(fit_verdicts(noise, known, answers)[1] - 0.5) < 0.2
    noise[known, 2] += 3 * answers
    noise[:, 5] = np.nan
    noise[10:20, 2] = np.nan
    probabilities, auroc = fit_verdicts(noise, known, answers)
    assert auroc > 0.9 and np.isfinite(probabilities).all() and probabilities.shape == (400,)
