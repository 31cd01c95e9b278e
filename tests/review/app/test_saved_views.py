"""Saved views and the App's layout, in the real database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rsam_app.data.records import Dataset
from rsam_app.review.app.review_queue import queue_of
from rsam_app.review.app.saved_views import first_view
from rsam_app.review.dataset.schema import DECISIONS, open_review
from rsam_app.review.tagging import tag_records
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder

MakeRun = Callable[..., RunFolder]


def test_views_contain_what_their_names_promise(drawn: Dataset, review_set: Any) -> None:
    worst = review_set.load_saved_view("run_one misattended")
    scores = worst.values("run_one_misattention")
    assert scores == sorted(scores, reverse=True) and len(scores) == 18
    assert worst.distinct("split") == ["train"], "answers about test images teach nothing"
    quality = review_set.load_saved_view("run_one suspect labels").values("run_one_label_quality")
    assert quality == sorted(quality) and len(quality) == 24
    pairs = zip(*review_set.values(["run_one_prediction.label", "ground_truth.label"]), strict=True)
    wrong = review_set.load_saved_view("run_one wrong")
    assert len(wrong) == sum(predicted != true for predicted, true in pairs) > 0


def test_if_only_test_images_are_predicted_they_are_shown(drawn: Dataset, make_run: MakeRun) -> None:
    write_run(make_run(drawn, splits=("test",)), drawn)
    review_set = open_review(drawn.name)
    assert len(review_set.load_saved_view("run_one misattended")) == 6
    assert len(queue_of(review_set, None, "run_one")) == 6


def test_views_stay_live(drawn: Dataset, review_set: Any) -> None:
    assert len(review_set.load_saved_view("to relabel")) == len(review_set.load_saved_view("decided")) == 0
    tag_records(review_set.name, [r.id for r in drawn.records[:5]], "relabel")
    sample = review_set.first()
    sample.review = "wrong place"
    sample.save()
    assert len(review_set.load_saved_view("to relabel")) == 5
    assert review_set.load_saved_view("decided").values("id") == [sample.id]


def test_views_that_the_reviewer_changed_stay(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    review_set.update_saved_view_info("run_one wrong", {"name": "start here"})
    review_set.delete_saved_view("decided")
    review_set.save_view("run_one misattended", review_set.limit(3), overwrite=True)
    review_set.save_view("Run Two Wrong", review_set.limit(2))
    write_run(make_run(drawn, seed=4), drawn)
    write_run(make_run(drawn, name="run two"), drawn)
    review_set.reload()
    names = review_set.list_saved_views()
    assert "start here" in names and "decided" not in names and "run_one wrong" not in names
    assert len(review_set.load_saved_view("run_one misattended")) == 3
    assert len(review_set.load_saved_view("Run Two Wrong")) == 2
    assert "run_two misattended" in names
    assert len(set(names)) == len(names)


def test_a_run_without_scores_has_no_view_of_them(drawn: Dataset, make_run: MakeRun) -> None:
    import pyarrow.parquet as pq

    run = make_run(drawn)
    for path in run.predictions.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["misattention", "label_quality"]), path)
    write_run(run, drawn)
    names = open_review(drawn.name).list_saved_views()
    by_pixels = ["run_one near-duplicates", "run_one split leakage"]
    assert sorted(names) == ["decided", *by_pixels, "run_one unsure", "run_one wrong", "to relabel"]


def test_the_app_opens_on_rectangles_and_little_else(review_set: Any) -> None:
    config = review_set.app_config
    shown = config.active_fields.paths
    assert {"ground_truth", "run_one_prediction", "run_one_rectangle"} <= set(shown)
    assert len(shown) <= 6
    groups = {group.name: group.paths for group in config.sidebar_groups}
    assert list(groups) == ["tags", "decisions", "run_one", "metadata"]
    placed = [path for paths in groups.values() for path in paths]
    assert len(placed) == len(set(placed))
    roots = {path for path in review_set.get_field_schema() if path != "metadata"}
    assert roots <= set(placed), "every field can be found in the sidebar"
    colors = {entry["path"]: entry["fieldColor"] for entry in config.color_scheme.fields}
    assert colors["run_one_rectangle"] != colors["ground_truth"]
    assert review_set.has_workspace("run_one review")
    assert first_view(review_set) == "run_one misattended"


def test_words_have_their_own_colours_and_shapes_their_run_s(review_set: Any) -> None:
    """The App colours everything by value: a missing value is `none` and gets the field's colour."""
    scheme = review_set.app_config.color_scheme
    assert scheme.color_by == "value"
    entries = {entry["path"]: entry for entry in scheme.fields}
    rectangle = entries["run_one_rectangle"]
    assert not review_set.first().run_one_rectangle.polylines[0].has_field(rectangle["colorByAttribute"])
    assert rectangle["valueColors"] == [{"value": "none", "color": rectangle["fieldColor"]}]
    assert {entry["value"] for entry in entries["review"]["valueColors"]} == set(DECISIONS)
    assert len({entry["color"] for entry in entries["run_one_triage"]["valueColors"]}) == 4


def test_annotation_offers_targets_and_shows_the_rectangle(review_set: Any) -> None:
    schemas, active = review_set.label_schemas, review_set.active_label_schemas
    assert {"run_one_attention", "run_one_rectangle"} <= set(active)
    first_of_its_kind = active.index("attention_target") < active.index("run_one_attention")
    assert first_of_its_kind, "a new box goes there"
    assert schemas["run_one_rectangle"]["read_only"] and schemas["attention_target"]["default"] == "target"


def test_a_layout_that_the_reviewer_arranged_stays(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    import fiftyone as fo

    config = review_set.app_config
    config.active_fields = fo.ActiveFields(paths=["run_one_rectangle"])
    config.color_scheme.fields[0]["fieldColor"] = "#123456"
    config.sidebar_groups = [fo.SidebarGroupDocument(name="mine", paths=["run_one_margin"]), *config.sidebar_groups]
    config.sidebar_groups[3].paths.remove("run_one_margin")
    review_set.save()
    write_run(make_run(drawn, name="run two"), drawn)
    config = open_review(drawn.name).app_config
    assert config.active_fields.paths == ["run_one_rectangle"]
    assert config.color_scheme.fields[0]["fieldColor"] == "#123456"
    groups = {group.name: group.paths for group in config.sidebar_groups}
    assert groups["mine"] == ["run_one_margin"]
    assert "run_two_rectangle" in groups["run_two"]


@pytest.mark.parametrize("edited", [False, True])
def test_a_view_whose_query_changes_is_saved_again_unless_the_reviewer_edited_it(
    drawn: Dataset, make_run: MakeRun, edited: bool
) -> None:
    import pyarrow.parquet as pq

    run = make_run(drawn)
    for path in run.predictions.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["misattention"]), path)
    write_run(run, drawn)
    review_set = open_review(drawn.name)
    assert sort_fields(review_set, "run_one triage: trust") == ["run_one_label_quality"]
    if edited:
        review_set.save_view("run_one triage: trust", review_set.sort_by("filepath"), overwrite=True)
    write_run(make_run(drawn), drawn)
    review_set.reload()
    expected = "filepath" if edited else "run_one_misattention"
    assert sort_fields(review_set, "run_one triage: trust") == [expected]


def sort_fields(review_set: Any, view: str) -> list[str]:
    import fiftyone as fo

    stages = review_set.load_saved_view(view)._stages
    return [stage.field_or_expr for stage in stages if isinstance(stage, fo.SortBy)]


def test_later_choices_of_colours_stay_and_runs_keep_theirs(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    write_run(make_run(drawn, name="run two"), drawn)
    review_set.reload()
    review_set.app_config.color_scheme.color_by = "field"
    review_set.app_config.color_scheme.opacity = 0.9
    review_set.save()
    before = {entry["path"]: entry for entry in review_set.app_config.color_scheme.fields}
    write_run(make_run(drawn, seed=1), drawn)
    scheme = open_review(drawn.name).app_config.color_scheme
    assert (scheme.color_by, scheme.opacity) == ("field", 0.9)
    assert {entry["path"]: entry for entry in scheme.fields} == before, "although run one is the latest now"


def test_the_next_run_is_the_one_shown(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    write_run(make_run(drawn, name="run two"), drawn)
    config = open_review(drawn.name).app_config
    assert "run_two_rectangle" in config.active_fields.paths
    assert "run_one_rectangle" not in config.active_fields.paths
    colors = {entry["path"]: entry["fieldColor"] for entry in config.color_scheme.fields}
    assert colors["run_one_rectangle"] != colors["run_two_rectangle"]


def test_a_key_that_begins_another_key_gets_its_own_group(drawn: Dataset, make_run: MakeRun) -> None:
    write_run(make_run(drawn, name="b"), drawn, key="birds_large")
    write_run(make_run(drawn, name="a"), drawn, key="birds")
    write_run(make_run(drawn, name="b", seed=1), drawn, key="birds_large")
    groups = {group.name: group.paths for group in open_review(drawn.name).app_config.sidebar_groups}
    assert all(path == "birds_large" or path.startswith("birds_large_") for path in groups["birds_large"])
    assert not any(path.startswith("birds_large") for path in groups["birds"])
    assert "birds" in groups["birds"] and "birds_large" in groups["birds_large"], "right or wrong, by the evaluation"


def test_the_app_offers_the_decisions_and_the_classes(drawn: Dataset, review_set: Any) -> None:
    schemas = review_set.label_schemas
    assert schemas["ground_truth"]["classes"] == list(drawn.classes)
    assert "wrong place" in schemas["review"]["values"]
    assert {"review", "ground_truth", "attention_target"} <= set(review_set.active_label_schemas)
