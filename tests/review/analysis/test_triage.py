"""Thresholds, and the database's own triage against the same rule in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rsam_app.data.records import Dataset
from rsam_app.review.analysis.triage import TRIAGE_COLORS, Thresholds, find_thresholds, write_triage
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_predictions

MakeRun = Callable[..., RunFolder]


def table(quality: list[float | None], place: list[float | None], split: str = "train") -> pa.Table:
    columns = {"split": [split] * len(quality), "label_quality": quality, "misattention": place}
    return pa.table(
        columns, schema=pa.schema([("split", pa.string()), *((n, pa.float32()) for n in list(columns)[1:])])
    )


@pytest.mark.parametrize(
    ("quality", "place", "word"),
    [
        (0.9, 0.1, "trust"),
        (0.1, 0.1, "relabel"),
        (0.9, 0.9, "re-attend"),
        (0.1, 0.9, "hard"),
        (None, 0.9, "re-attend"),
        (0.1, None, "relabel"),
        (None, None, None),
        (0.4, 0.6, "trust"),
    ],
)
def test_two_scores_make_four_words(quality: float | None, place: float | None, word: str | None) -> None:
    assert Thresholds(0.4, 0.6).word(quality, place) == word


def test_the_training_split_decides_if_there_is_one() -> None:
    train = table([0.8] * 9 + [0.1], [0.2, 0.3, 0.4, 0.3, 0.2, 0.4, 0.3, 0.2, 0.4, 0.9])
    found = find_thresholds(pa.concat_tables([train, table([0.01] * 30, [0.99] * 30, "test")]))
    assert found == find_thresholds(train)
    assert found.label_quality == pytest.approx(0.4)
    spread = 1.4826 * np.median(np.abs(np.array([0.2, 0.3, 0.4, 0.3, 0.2, 0.4, 0.3, 0.2, 0.4, 0.9]) - 0.3))
    assert found.misattention == pytest.approx(0.3 + 1.5 * spread, abs=1e-6)


def test_a_score_that_a_run_lacks_decides_nothing() -> None:
    found = find_thresholds(table([0.8] * 5, [None] * 5))
    assert found.misattention is None and found.label_quality is not None
    assert found.word(0.9, None) == "trust"


def test_the_database_computes_what_the_rule_says(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    thresholds = find_thresholds(read_predictions(make_run(drawn).predictions))
    names = ["run_one_label_quality", "run_one_misattention", "run_one_triage"]
    rows = list(zip(*review_set.values(names), strict=True))
    assert [thresholds.word(quality, place) for quality, place, _ in rows] == [word for *_, word in rows]
    assert set(Counter(word for *_, word in rows)) <= set(TRIAGE_COLORS)
    assert write_triage(review_set, "run_one", thresholds) == 0, "written twice, nothing changes twice"
    review_set.add_sample(type(review_set.first())(filepath="/own.png"))
    everything = Thresholds(1.1, -0.1)
    assert write_triage(review_set, "run_one", everything) > 0
    review_set.reload()
    assert review_set.count_values("run_one_triage") == {"hard": 24, None: 1}, "the user's own image is unchanged"


def test_triage_views_are_live_and_the_colours_are_the_words(
    drawn: Dataset, make_run: MakeRun, review_set: Any
) -> None:
    counts = review_set.count_values("run_one_triage")
    for word in TRIAGE_COLORS:
        assert len(review_set.load_saved_view(f"run_one triage: {word}")) == counts.get(word, 0)
    write_triage(review_set, "run_one", Thresholds(1.1, -0.1))
    review_set.reload()
    assert len(review_set.load_saved_view("run_one triage: hard")) == 24
    entry = next(e for e in review_set.app_config.color_scheme.fields if e["path"] == "run_one_triage")
    assert {v["value"]: v["color"] for v in entry["valueColors"]} == TRIAGE_COLORS


def test_a_rewrite_follows_new_scores(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    run = make_run(drawn, seed=5)
    write_run(run, drawn)
    review_set.reload()
    thresholds = find_thresholds(read_predictions(run.predictions))
    names = ["run_one_label_quality", "run_one_misattention", "run_one_triage"]
    for quality, place, word in zip(*review_set.values(names), strict=True):
        assert thresholds.word(quality, place) == word
