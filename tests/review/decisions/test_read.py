"""Decisions read back from the real database."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsam_app.data.records import Dataset
from rsam_app.geometry.types import RECTANGLE_FIELDS, Rectangle
from rsam_app.review.decisions.marks import mark, undo
from rsam_app.review.decisions.read import Decisions, read_decisions
from rsam_app.review.tagging import tag_records, tagged_ids
from rsam_app.review.writing.write_located import write_located
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.corrections import add_corrections, apply_corrections, corrections_path, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

MakeRun = Callable[..., RunFolder]


def of(review_set: Any, record_id: str) -> Any:
    from fiftyone import ViewField as F

    return review_set.one(F("record_id") == record_id)


def change(review_set: Any, record_id: str, **fields: Any) -> None:
    sample = of(review_set, record_id)
    for name, value in fields.items():
        sample[name] = value
    sample.save()


def box(bounding_box: list[float], **attributes: Any) -> Any:
    import fiftyone as fo

    return fo.Detections(detections=[fo.Detection(label="target", bounding_box=bounding_box, **attributes)])


def read(review_set: Any, key: str = "run_one") -> Decisions:
    return read_decisions(review_set.name, key, "ann")


def rectangles(found: Decisions) -> dict[str, list[float]]:
    return {c.id: json.loads(c.after) for c in found.corrections if c.kind == "rectangle" and c.after}


def test_a_mark_that_says_nothing_of_the_rectangle_is_only_counted(drawn: Dataset, review_set: Any) -> None:
    change(review_set, drawn.records[0].id, review="unsure")
    change(review_set, drawn.records[1].id, review="wrong label")
    found = read(review_set)
    assert (found.corrections, found.problems) == ([], [])
    assert found.marks == {"unsure": 1, "wrong label": 1}


@pytest.mark.parametrize(("word", "verdict"), [("right", "right"), ("wrong place", "wrong")])
def test_a_mark_about_the_place_keeps_the_rectangle_that_it_was_about(
    drawn: Dataset, make_run: MakeRun, review_set: Any, tmp_path: Path, word: str, verdict: str
) -> None:
    record_id, table = drawn.records[0].id, tmp_path / "corrections.csv"
    shown = of(review_set, record_id).run_one_attention.detections[0]
    change(review_set, record_id, review=word)
    (correction,) = read(review_set).corrections
    said, _, rectangle = correction.after.partition(" ")
    assert (correction.kind, said) == ("place", verdict)
    assert json.loads(rectangle) == pytest.approx([shown[name] for name in RECTANGLE_FIELDS], abs=1e-3)
    assert len(add_corrections(table, [correction])) == 1
    write_run(make_run(drawn, name="run two", shift=30.0), drawn)  # a later model looks elsewhere
    assert add_corrections(table, read(review_set, "run_two").corrections) == []
    answers = apply_corrections(drawn, read_corrections(table)).answers
    judged = answers.right if verdict == "right" else answers.wrong
    assert list(judged) == [record_id] and len(answers.right) + len(answers.wrong) == 1
    change(review_set, record_id, review=None)
    assert len(add_corrections(table, read(review_set).corrections)) == 1
    assert not apply_corrections(drawn, read_corrections(table)).answers


def test_a_changed_mark_is_about_the_rectangle_shown_now(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    record_id = drawn.records[0].id
    change(review_set, record_id, review="wrong place")
    before = read(review_set).corrections[0].after
    write_run(make_run(drawn, name="run two", shift=30.0), drawn)
    change(review_set, record_id, review="right")
    (correction,) = read(review_set, "run_two").corrections
    assert correction.after.startswith("right ") and correction.after.split(" ", 1)[1] != before.split(" ", 1)[1]


def test_marks_and_acceptances_are_about_the_rectangle_that_was_found_again(
    drawn: Dataset, make_run: MakeRun, review_set: Any
) -> None:
    marked, accepted, alone = (record.id for record in drawn.records[:3])
    again = Rectangle(41.0, 27.0, 20.0, 10.0, 0.2)
    write_located(review_set, "run_one", {marked: again, accepted: again}, [marked])
    for record_id, word in ((marked, "wrong place"), (accepted, "accept"), (alone, "right")):
        change(review_set, record_id, review=word)
    found = read(review_set)
    said = {c.id: c.after for c in found.corrections if c.kind == "place"}
    assert json.loads(said[marked].removeprefix("wrong ")) == pytest.approx(again, abs=1e-3)
    assert rectangles(found) == {accepted: pytest.approx(again, abs=1e-3)}
    shown = of(review_set, alone).run_one_attention.detections[0]
    assert json.loads(said[alone].removeprefix("right ")) == pytest.approx(
        [shown[name] for name in RECTANGLE_FIELDS], abs=1e-3
    )
    write_run(make_run(drawn, name="run one", shift=30.0), drawn)  # trained again, it looks elsewhere
    assert len(review_set.exists("run_one_located")) == 0
    change(review_set, marked, review="right")
    shown = of(review_set, marked).run_one_attention.detections[0]
    (now,) = (c.after for c in read(review_set).corrections if c.id == marked)
    assert json.loads(now.removeprefix("right ")) == pytest.approx([shown[name] for name in RECTANGLE_FIELDS], abs=1e-3)


def test_a_drawn_box_outweighs_a_mark_about_the_models(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    record_id, table = drawn.records[0].id, tmp_path / "corrections.csv"
    change(review_set, record_id, review="wrong place", attention_target=box([0.25, 0.25, 0.5, 0.5]))
    add_corrections(table, read(review_set).corrections)
    corrected = apply_corrections(drawn, read_corrections(table))
    assert corrected.answers.right == corrected.targets and list(corrected.targets) == [record_id]
    assert corrected.answers.wrong == {}


def test_an_edited_label_becomes_a_correction_once(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    import fiftyone as fo

    record, table = drawn.records[0], tmp_path / "corrections.csv"
    change(review_set, record.id, ground_truth=fo.Classification(label="crow"))
    (correction,) = read(review_set).corrections
    assert (correction.id, correction.kind, correction.before) == (record.id, "label", record.label)
    assert (correction.after, correction.who, correction.run) == ("crow", "ann", "run_one")
    assert len(add_corrections(table, [correction])) == 1
    assert add_corrections(table, read(review_set).corrections) == []


def test_an_edit_taken_back_takes_the_correction_back(drawn: Dataset, review_set: Any, tmp_path: Path) -> None:
    import fiftyone as fo

    label, target, gone = (r.id for r in drawn.records[:3])
    table, original = tmp_path / "corrections.csv", drawn.records[0].label
    change(review_set, label, ground_truth=fo.Classification(label="crow"))
    change(review_set, target, attention_target=box([0.25, 0.25, 0.5, 0.5]))
    change(review_set, gone, review="exclude")
    assert len(add_corrections(table, read(review_set).corrections)) == 3
    change(review_set, label, ground_truth=fo.Classification(label=original))
    change(review_set, target, attention_target=None)
    change(review_set, gone, review=None)
    assert len(add_corrections(table, read(review_set).corrections)) == 3
    corrected, targets, _ = apply_corrections(drawn, read_corrections(table))
    assert (corrected.records, targets) == (drawn.records, {})


@pytest.mark.parametrize(
    ("attributes", "angle"),
    [({}, 0.0), ({"angle": 0.5}, 0.5), ({"rotation": 90.0}, -math.pi / 2), ({"angle": 3.0}, 3 - math.pi)],
)
def test_a_drawn_box_in_image_pixels(
    drawn: Dataset, review_set: Any, attributes: dict[str, float], angle: float
) -> None:
    change(review_set, drawn.records[0].id, attention_target=box([0.25, 0.125, 0.5, 0.25], **attributes))
    expected = [120, 40, 120, 40, angle]
    assert rectangles(read(review_set)) == {drawn.records[0].id: pytest.approx(expected, abs=1e-3)}


def test_a_dragged_rectangle_moves_and_a_resized_one_stands_upright(drawn: Dataset, review_set: Any) -> None:
    shifted, resized, touched = (of(review_set, r.id) for r in drawn.records[3:6])
    before = shifted.run_one_attention.detections[0]
    x, y, w, h = before.bounding_box
    before.bounding_box = [x + 0.1, y - 0.05, w, h]
    resized.run_one_attention.detections[0].bounding_box = [0.25, 0.25, 0.5, 0.5]
    jitter = touched.run_one_attention.detections[0]
    jitter.bounding_box = [v + 1e-7 for v in jitter.bounding_box]
    for sample in (shifted, resized, touched):
        sample.save()
    found = rectangles(read(review_set))
    expected = [before.cx + 24, before.cy - 8, before.width, before.height, before.angle]
    assert found[shifted.record_id] == pytest.approx(expected, abs=1e-3)
    assert found[resized.record_id] == pytest.approx([120, 80, 120, 80, 0])
    assert touched.record_id not in found


def test_accepting_takes_the_models_rectangle(drawn: Dataset, review_set: Any) -> None:
    by_mark, by_tag = drawn.records[0].id, drawn.records[1].id
    change(review_set, by_mark, review="accept")
    assert tag_records(review_set.name, [by_tag], "accept") == 1
    found = rectangles(read(review_set))
    for record_id in (by_mark, by_tag):
        shown = of(review_set, record_id).run_one_attention.detections[0]
        assert found[record_id] == pytest.approx([shown[n] for n in RECTANGLE_FIELDS], abs=1e-3)


def test_an_accepted_rectangle_stays_when_the_model_looks_elsewhere(
    drawn: Dataset, make_run: MakeRun, review_set: Any
) -> None:
    record_id = drawn.records[0].id
    shown = of(review_set, record_id).run_one_attention.detections[0]
    change(review_set, record_id, review="accept")
    write_run(make_run(drawn, seed=2, shift=15.0), drawn)
    write_run(make_run(drawn, name="run two", shift=30.0), drawn)
    for key in ("run_two", "run_one"):
        assert rectangles(read(review_set, key))[record_id] == pytest.approx(
            [shown[n] for n in RECTANGLE_FIELDS], abs=1e-3
        )
    change(review_set, record_id, review="wrong place")
    undone, answer = read(review_set).corrections
    assert (undone.kind, undone.after) == ("rectangle", "")
    assert answer.kind == "place" and answer.after.startswith("wrong ")


def test_a_box_dragged_in_one_run_is_read_for_another(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    sample = of(review_set, drawn.records[0].id)
    sample.run_one_attention.detections[0].bounding_box = [0.25, 0.25, 0.5, 0.5]
    sample.save()
    write_run(make_run(drawn, name="run two"), drawn)
    (correction,) = read(review_set, "run_two").corrections
    assert json.loads(correction.after) == pytest.approx([120, 80, 120, 80, 0])
    assert correction.run == "run_two"


def test_exclude_by_mark_or_by_tag(drawn: Dataset, review_set: Any) -> None:
    ids = [r.id for r in drawn.records[:2]]
    change(review_set, ids[0], review="exclude")
    tag_records(review_set.name, ids[1:], "exclude")
    assert {c.id: (c.kind, c.after) for c in read(review_set).corrections} == dict.fromkeys(ids, ("exclude", "true"))


def test_tags_count_in_any_case_and_with_blanks(drawn: Dataset, review_set: Any) -> None:
    names = [r.id for r in drawn.records[:4]]
    for name, tag in zip(names, ("EXCLUDE", "exclude ", " Accept", "excluded"), strict=True):
        change(review_set, name, tags=[tag, "mine"])
    found = read(review_set)
    assert [(c.id, c.kind) for c in found.corrections] == [
        (names[0], "exclude"),
        (names[1], "exclude"),
        (names[2], "rectangle"),
    ]
    chosen = [of(review_set, name).id for name in names[:2]]
    mark(review_set, chosen, "right", "run_one")
    review_set.reload()
    assert [of(review_set, name).tags for name in names[:2]] == [["mine"], ["mine"]]
    undo(review_set)
    review_set.reload()
    assert {tuple(sorted(tags)) for tags in review_set.select(chosen).values("tags")} == {
        ("EXCLUDE", "mine"),
        ("exclude ", "mine"),
    }


def test_unreadable_decisions_are_named_and_the_rest_is_read(drawn: Dataset, review_set: Any) -> None:
    import fiftyone as fo

    ids = [r.id for r in drawn.records[:6]]
    change(review_set, ids[0], ground_truth=fo.Classification(label="dodo"))
    change(review_set, ids[1], ground_truth=None)
    change(review_set, ids[2], review="wrnog place")
    two = box([0, 0, 0.5, 0.5])
    two.detections.append(two.detections[0].copy())
    change(review_set, ids[3], attention_target=two)
    change(review_set, ids[4], attention_target=box([0.5, 0.5, 0.001, 0.001]))
    change(review_set, ids[5], ground_truth=fo.Classification(label="crow"), review="exclude")
    review_set.add_sample(fo.Sample(filepath="/elsewhere/added.png", tags=["exclude"]))
    found = read(review_set)
    assert [c.id for c in found.corrections if c.kind == "exclude"] == [ids[5]]
    named = ["'dodo'", "None", "wrnog place", "2 boxes", "less than a pixel"]
    assert [p.split(": ")[0] for p in found.problems] == [*ids[:5], "/elsewhere/added.png"]
    assert all(text in problem for text, problem in zip(named, found.problems, strict=False))


def test_a_box_off_the_image_is_named_and_not_read(drawn: Dataset, review_set: Any) -> None:
    name = drawn.records[0].id
    change(review_set, name, attention_target=box([1.2, 1.2, 0.3, 0.3]))
    found = read(review_set)
    assert found.corrections == []
    assert found.problems == [f"{name}: the box is off the image. Draw it again in attention_target."]


def test_accepting_without_a_rectangle_is_a_problem(drawn: Dataset, make_run: MakeRun) -> None:
    write_run(make_run(drawn, attention=False), drawn)
    tag_records(drawn.name, [drawn.records[0].id], "accept")
    found = read_decisions(drawn.name, "run_one", "ann")
    assert found.corrections == []
    assert "no rectangle" in found.problems[0] and drawn.records[0].id in found.problems[0]


def test_decisions_reach_the_next_run(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    run, record = make_run(drawn), drawn.records[0]
    other = next(name for name in drawn.classes if name != record.label)
    sample = of(review_set, record.id)
    sample.ground_truth.label = other
    sample.save()
    table = corrections_path(run.path, drawn.name)
    add_corrections(table, read(review_set).corrections)
    corrected, *_ = apply_corrections(drawn, read_corrections(table))
    assert corrected.records[0].label == other
    write_run(make_run(corrected, name="run two"), corrected)
    assert add_corrections(table, read(review_set, "run_two").corrections) == []
    assert of(review_set, record.id).ground_truth.label == other


def test_tags_go_in_bulk_and_come_back(drawn: Dataset, review_set: Any) -> None:
    ids = [r.id for r in drawn.records[:10]]
    assert tag_records(review_set.name, [*ids, ids[0]], "relabel") == 10
    assert tag_records(review_set.name, ids[:3], "relabel") == 0
    assert sorted(tagged_ids(review_set.name, "relabel")) == sorted(ids)
    assert tagged_ids(review_set.name, "nobody") == []
    assert tag_records(review_set.name, [], "relabel") == 0
    with pytest.raises(UserError, match=r"lacks 1 of 2 records, e\.g\. 'unknown'"):
        tag_records(review_set.name, [drawn.records[20].id, "unknown"], "relabel")
    assert len(tagged_ids(review_set.name, "relabel")) == 10


def test_an_unknown_dataset_or_run_is_refused(review_set: Any) -> None:
    with pytest.raises(UserError, match=r"no run 'other' \(has: run_one\)"):
        read(review_set, "other")
    with pytest.raises(UserError, match=r"no dataset 'nowhere'.*rsam review"):
        read_decisions("nowhere", "run_one", "ann")
