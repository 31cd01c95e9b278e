"""`rsam apply --undo`: the table and FiftyOne go back together, and nothing is applied again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsam_app.data.records import Dataset
from rsam_app.review.decisions.apply import apply_to, undo_last
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.corrections import apply_corrections, corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def run(drawn: Dataset, make_run: MakeRun, review_set: Any) -> RunFolder:
    return make_run(drawn)


def of(review_set: Any, record_id: str) -> Any:
    from fiftyone import ViewField as F

    review_set.reload()
    return review_set.one(F("record_id") == record_id)


def decide_everything(drawn: Dataset, review_set: Any) -> None:
    """One decision of every kind: an edited label, a drawn, a dragged and an accepted rectangle, two exclusions and
    two marks about places."""
    import fiftyone as fo

    samples = [of(review_set, r.id) for r in drawn.records[:9]]
    samples[0].ground_truth.label = next(c for c in drawn.classes if c != drawn.records[0].label)
    box = fo.Detection(label="target", bounding_box=[0.25, 0.25, 0.5, 0.5])
    samples[1].attention_target = fo.Detections(detections=[box])
    dragged = samples[2].run_one_attention.detections[0]
    dragged.bounding_box = [dragged.bounding_box[0] + 0.1, *dragged.bounding_box[1:]]
    samples[3].review = "accept"
    samples[4].tags = ["accept", "mine"]
    samples[5].review = "exclude"
    samples[6].tags = ["exclude"]
    samples[7].review, samples[8].review = "right", "wrong place"
    for sample in samples:
        sample.save()


def apply(run: RunFolder, drawn: Dataset, who: str = "ann") -> int:
    return len(apply_to(run, drawn.name, "run_one", who).added)


def in_force(run: RunFolder, drawn: Dataset) -> tuple[Dataset, Any]:
    corrected = apply_corrections(drawn, read_corrections(corrections_path(run.path, drawn.name)))
    assert corrected.targets or not corrected.answers, "nothing else is taught"
    return corrected.dataset, corrected.targets


def test_undo_takes_every_kind_back_and_apply_does_not_bring_it_again(
    run: RunFolder, drawn: Dataset, review_set: Any
) -> None:
    decide_everything(drawn, review_set)
    assert apply(run, drawn) == 9
    undone = undo_last(run, drawn.name, "run_one", "bo")
    assert (len(undone.undone), undone.left) == (9, [])
    assert in_force(run, drawn) == (drawn, {})
    assert apply(run, drawn) == 0, "FiftyOne agrees with the table"
    table = read_corrections(undone.path)
    assert len(table) == 18, "history is kept"
    assert {c.who for c in table[:9]} == {"ann"} and {c.who for c in table[9:]} == {"bo"}
    assert [(c.before, c.after) for c in table[9:]] == [(c.after, c.before) for c in table[:9]]
    samples = [of(review_set, r.id) for r in drawn.records[:9]]
    assert samples[0].ground_truth.label == drawn.records[0].label
    assert all(sample.attention_target is None for sample in samples)
    moved = samples[2].run_one_attention.detections[0]
    assert list(moved.bounding_box) == list(moved["model_box"])
    assert [sample.review for sample in samples] == [None] * 9
    assert [sample["judged_place"] for sample in samples] == [None] * 9
    assert [sample.tags for sample in samples[3:7]] == [[], ["mine"], [], []]


def test_undo_restores_the_state_before_the_last_apply(run: RunFolder, drawn: Dataset, review_set: Any) -> None:
    import fiftyone as fo

    record = drawn.records[0]
    second, third = (c for c in drawn.classes if c != record.label)
    for label, left in ((second, 0.1), (third, 0.4)):
        sample = of(review_set, record.id)
        sample.ground_truth.label = label
        box = fo.Detection(label="target", bounding_box=[left, 0.25, 0.25, 0.5])
        sample.attention_target = fo.Detections(detections=[box])
        sample.save()
        assert apply(run, drawn) == 2
    undo_last(run, drawn.name, "run_one", "ann")
    sample = of(review_set, record.id)
    assert sample.ground_truth.label == second
    assert sample.attention_target.detections[0].bounding_box == pytest.approx([0.1, 0.25, 0.25, 0.5], abs=1e-4)
    assert apply(run, drawn) == 0
    undo_last(run, drawn.name, "run_one", "ann")
    assert in_force(run, drawn) == (drawn, {})
    assert apply(run, drawn) == 0
    with pytest.raises(UserError, match="nothing to undo"):
        undo_last(run, drawn.name, "run_one", "ann")


def test_a_newer_decision_stays_and_is_applied_next(run: RunFolder, drawn: Dataset, review_set: Any) -> None:
    record = drawn.records[0]
    second, third = (c for c in drawn.classes if c != record.label)
    sample = of(review_set, record.id)
    sample.ground_truth.label = second
    sample.save()
    apply(run, drawn)
    sample.ground_truth.label = third
    sample.save()
    assert undo_last(run, drawn.name, "run_one", "ann").left == [record.id]
    assert of(review_set, record.id).ground_truth.label == third
    assert apply(run, drawn) == 1
    assert in_force(run, drawn)[0].records[0].label == third


def test_undone_decisions_can_be_made_and_undone_again(run: RunFolder, drawn: Dataset, review_set: Any) -> None:
    for _ in range(2):
        decide_everything(drawn, review_set)
        assert apply(run, drawn) == 9
        assert len(undo_last(run, drawn.name, "run_one", "ann").undone) == 9
        assert in_force(run, drawn) == (drawn, {})


def test_another_run_undoes_it_as_well(run: RunFolder, drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    decide_everything(drawn, review_set)
    apply(run, drawn)
    other = make_run(drawn, name="run two", shift=20.0)
    write_run(other, drawn)
    assert undo_last(other, drawn.name, "run_two", "ann").left == []
    assert in_force(run, drawn) == (drawn, {})
    assert len(apply_to(other, drawn.name, "run_two", "ann").added) == 0


def test_nothing_applied_is_nothing_to_undo(run: RunFolder, drawn: Dataset, review_set: Any) -> None:
    with pytest.raises(UserError, match="nothing to undo"):
        undo_last(run, drawn.name, "run_one", "ann")
    assert not Path(corrections_path(run.path, drawn.name)).exists()
