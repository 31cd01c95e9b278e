"""Every operator of the plugin, called as FiftyOne calls it, on the real database."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rsam_app.config import Pipeline
from rsam_app.data.records import Dataset
from rsam_app.review.app.install_plugin import PLUGIN, link_plugin
from rsam_app.review.app.review_queue import explain, queue_of
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.run.folder import RunFolder

MakeRun = Callable[..., RunFolder]
SILENT = {"key"}
ANY_DATASET = {"train_on_view"}
REPORTING = {"score", "export"}


@pytest.fixture(autouse=True)
def plugin(fiftyone_module: Any) -> None:
    link_plugin()


@pytest.fixture
def run(drawn: Dataset, make_run: MakeRun, review_set: Any) -> RunFolder:
    """'run one' as the review set remembers it, with a card that names the drawn images."""
    made = make_run(drawn)
    root = drawn.records[0].path.parents[1]
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split", "x", "y", "width", "height"])
        writer.writerows([r.id, r.label, r.split, *r.boxes[0]] for r in drawn.records)
    card = made.path.parent / "card.yaml"
    content = {"name": drawn.name, "layout": "manifest", "root": str(root / "manifest.csv"), "licence": "CC0"}
    card.write_text(yaml.safe_dump(content), encoding="utf-8")
    made.save_pipeline(Pipeline(name="drawn", dataset=str(card)))
    return made


def call(review_set: Any, name: str, **context: Any) -> tuple[Any, dict[str, Any]]:
    """Return the operator's result, and its requests to the App by name."""
    import fiftyone.operators as foo

    dataset = {} if "view" in context else {"dataset": review_set}
    result = foo.execute_operator(f"@rsam/review/{name}", ctx={**dataset, **context})
    review_set.reload()
    return result.result, {r["operator_uri"]: r["params"] for r in result.executor.to_json()["requests"]}


def form(review_set: Any, name: str, **context: Any) -> dict[str, Any]:
    """The fields of an operator's form by name, as the App gets them."""
    import fiftyone.operators as foo
    from fiftyone.operators.executor import ExecutionContext

    ctx = ExecutionContext({"dataset_name": review_set.name, "params": {}, **context})
    shown = foo.get_operator(f"@rsam/review/{name}").resolve_input(ctx)
    return shown.to_json()["type"]["properties"] if shown else {}


def names() -> list[str]:
    return [n for n in yaml.safe_load((PLUGIN / "fiftyone.yml").read_text(encoding="utf-8"))["operators"]]


def test_no_operator_touches_a_dataset_that_is_not_rsams(fiftyone_module: Any) -> None:
    fo = fiftyone_module
    users_dataset = fo.Dataset("foreign, for operators")
    try:
        users_dataset.add_sample(fo.Sample(filepath="/elsewhere/foreign.png"))
        before = users_dataset.get_field_schema().keys()
        for name in [n for n in names() if n not in ANY_DATASET]:
            result, requests = call(
                users_dataset, name, selected=users_dataset.values("id"), params={"key": "1", "decision": "right"}
            )
            if name in SILENT:
                assert (result, requests) == ({}, {})
            elif name in REPORTING:
                assert "does not apply" in requests["show_output"]["results"]["error"]
            else:
                assert "does not apply to the dataset 'foreign, for operators'" in result["error"]
                assert requests["notify"] == {"message": result["error"], "variant": "error"}
        assert users_dataset.get_field_schema().keys() == before
        assert "does not apply" in form(users_dataset, "mark")["problem"]["view"]["description"]
    finally:
        users_dataset.delete()


@pytest.mark.parametrize(
    ("name", "decision"),
    [
        ("mark_right", "right"),
        ("mark_wrong_place", "wrong place"),
        ("mark_wrong_label", "wrong label"),
        ("mark_unsure", "unsure"),
        ("accept_rectangle", "accept"),
    ],
)
def test_each_decision_has_an_operator(review_set: Any, name: str, decision: str) -> None:
    chosen = review_set.limit(2).values("id")
    result, requests = call(review_set, name, selected=chosen)
    assert result == {"marked": 2, "left": [], "next": None}
    assert review_set.select(chosen).values("review") == [decision] * 2
    assert {"clear_selected_samples", "reload_samples"} <= requests.keys()
    assert (decision == "accept") is (review_set.limit(1).first().attention_target is not None)


def test_marking_the_open_image_opens_the_next_and_shows_why(review_set: Any) -> None:
    view = review_set.load_saved_view("run_one misattended")
    first, second = view.values("id")[:2]
    _, requests = call(review_set, "mark", view=view, current_sample=first, params={"decision": "exclude"})
    assert review_set[first].review == "exclude"
    assert requests["open_sample"]["id"] == second
    assert requests["notify"]["message"].startswith("'exclude'. Next: Misattention")
    _, requests = call(review_set, "next_image", view=view, current_sample=second)
    assert requests["open_sample"]["id"] == view.values("id")[2]


def test_undo_takes_the_mark_back_and_shows_which(review_set: Any) -> None:
    chosen = review_set.limit(2).values("id")
    call(review_set, "mark_unsure", selected=chosen)
    result, requests = call(review_set, "undo")
    assert (result["undone"], result["mark"]) == (2, "unsure")
    assert {s["id"] for s in requests["set_selected_samples"]["samples"]} == set(chosen)
    assert review_set.select(chosen).values("review") == [None] * 2
    result, _ = call(review_set, "undo")
    assert "no mark of yours" in result["error"]


def test_marking_nothing_or_an_unknown_word_is_refused(review_set: Any) -> None:
    assert "Open an image, or select some" in call(review_set, "mark_right")[0]["error"]
    one = review_set.limit(1).values("id")
    assert "expected one of right" in call(review_set, "mark", selected=one, params={"decision": "great"})[0]["error"]
    assert (
        "run 'other': this dataset has run_one" in call(review_set, "mark_right", params={"run": "other"})[0]["error"]
    )


def test_keys_do_what_the_panel_shows(review_set: Any) -> None:
    from rsam_app.review.plugin.keys import (  # with FiftyOne, which needs its database first
        LABEL,
        MARKS,
        NEXT,
        TAKE,
        UNDO,
    )

    first, second = queue_of(review_set, None, "run_one").values("id")[:2]
    for key, decision in MARKS.items():
        call(review_set, "key", current_sample=first, params={"key": key})
        assert review_set[first].review == decision
    call(review_set, "key", current_sample=first, params={"key": UNDO})
    assert review_set[first].review == "accept"
    _, requests = call(review_set, "key", current_sample=first, params={"key": NEXT})
    assert requests["open_sample"]["id"] == second
    script = (PLUGIN / "keys.js").read_text(encoding="utf-8")
    assert f"KEYS = {[*MARKS, TAKE, LABEL, UNDO, NEXT]};".replace("'", '"') in script


def test_the_suggested_label_is_taken_with_a_key_a_button_or_on_many_at_once(review_set: Any) -> None:
    from rsam_app.review.analysis.suggested_labels import suggestions

    order = queue_of(review_set, None, "run_one").values("id")
    found = suggestions(review_set, order, "run_one")
    first, second, third = list(found)[:3]
    without = next(i for i in order if i not in found)
    before = review_set[second].ground_truth.label
    assert f"Take {found[first].label} (7)" in texts(panel(review_set, "on_load", current_sample=first)[1])
    assert "(7)" not in texts(panel(review_set, "on_load", current_sample=without)[1])
    _, requests = call(review_set, "key", current_sample=first, params={"key": "7"})
    assert (review_set[first].review, review_set[first].ground_truth.label) == ("wrong label", found[first].label)
    assert requests["open_sample"]["id"] and requests["notify"]["message"].startswith(
        f"label '{found[first].label}' set."
    )
    panel(review_set, "take", current_sample=second)
    assert review_set[second].ground_truth.label == found[second].label
    call(review_set, "undo", current_sample=third)
    assert review_set[second].ground_truth.label == before
    result, requests = call(review_set, "take_suggestion", selected=[second, third, without])
    assert result["marked"] == 2 and result["left"] == [review_set[without].record_id]
    assert "on 2 images; 1 image: no other label is suggested" in requests["notify"]["message"]
    refused = call(review_set, "take_suggestion", current_sample=without)[0]["error"]
    assert "No other label is suggested for this image" in refused


def test_any_label_is_given_to_one_image_or_to_many(review_set: Any) -> None:
    first, second, third = queue_of(review_set, None, "run_one").values("id")[:3]
    classes = [c for c in review_set.distinct("ground_truth.label") if c != review_set[first].ground_truth.label]
    fields = form(review_set, "give_label", current_sample=first)
    assert set(classes) < set(fields["label"]["type"]["values"])
    _, requests = call(review_set, "give_label", current_sample=first, params={"label": classes[0]})
    assert (review_set[first].review, review_set[first].ground_truth.label) == ("wrong label", classes[0])
    assert requests["open_sample"]["id"] == second
    again = call(review_set, "give_label", current_sample=first, params={"label": classes[0]})[0]["error"]
    assert again == f"Nothing to change: the label is already {classes[0]!r}."
    typed = call(review_set, "give_label", current_sample=first, params={"label": classes[0][:-1] + "x"})[0]["error"]
    assert "is not a class of this dataset" in typed and repr(classes[0]) in typed

    review_set.set_values("ground_truth", {second: None}, key_field="id")
    result, requests = call(review_set, "give_label", selected=[first, second], params={"label": classes[0]})
    assert (result["marked"], result["left"]) == (1, [review_set[first].record_id])
    assert (review_set[second].review, review_set[second].ground_truth.label) == ("labelled", classes[0])
    call(review_set, "undo", current_sample=third)
    assert (review_set[second].review, review_set[second].ground_truth) == (None, None)

    _, requests = call(review_set, "key", current_sample=third, params={"key": "l"})
    assert requests["prompt_user_for_operation"]["operator_uri"] == "@rsam/review/give_label"
    assert "Open an image" in call(review_set, "key", params={"key": "l"})[0]["error"]


def test_a_new_class_is_added_only_if_that_is_ticked_and_undone_with_its_label(
    drawn: Dataset, make_run: MakeRun, review_set: Any
) -> None:
    from rsam_app.review.dataset.schema import memory

    def give(image: str, label: str, **params: Any) -> tuple[Any, dict[str, Any]]:
        return call(review_set, "give_label", current_sample=image, params={"label": label, **params})

    def offered() -> list[list[str]]:
        shown = form(review_set, "give_label", current_sample=first)["label"]["type"]["values"]
        schemas = [review_set.label_schemas[name]["classes"] for name in ("ground_truth", "run_one_attention")]
        return [shown, review_set.classes["ground_truth"], *schemas]

    first, second = queue_of(review_set, None, "run_one").values("id")[:2]
    crow, tit = (review_set.match({"ground_truth.label": name}).first().id for name in ("crow", "blue tit"))
    give(tit, " CROW ")
    give(crow, "ärger  finch", new_class=True)
    assert [review_set[i].ground_truth.label for i in (tit, crow)] == ["crow", "Ärger Finch"], "classes that exist"
    refused = give(first, "blue tot")[0]["error"]
    assert refused == (
        "label 'blue tot' is not a class of this dataset. Did you mean 'blue tit'?\nTick 'New class' to add it."
    )
    assert "is not a name" in give(first, "  ")[0]["error"]
    assert offered() == [list(drawn.classes)] * 4 and form(review_set, "give_label", current_sample=first)["new_class"]

    _, requests = give(first, " blue  tot ", new_class=True)
    assert requests["notify"]["message"].startswith("new class 'blue tot' set. Next: ")
    assert offered() == [[*drawn.classes, "blue tot"]] * 4
    write_run(make_run(drawn), drawn)
    review_set.reload()
    assert offered() == [[*drawn.classes, "blue tot"]] * 4, "also after `rsam review` again"
    assert review_set.info["licence"] == "CC0"

    give(second, "Blue Tot")
    call(review_set, "undo")
    assert (review_set[first].ground_truth.label, offered()[0][-1]) == ("blue tot", "blue tot")
    call(review_set, "undo")
    assert offered() == [list(drawn.classes)] * 4 and memory(review_set).new_classes == []
    assert "is not a class" in give(second, "blue tot")[0]["error"]


def test_selecting_tags_and_shows_what_was_selected(run: RunFolder, review_set: Any) -> None:
    fields = form(review_set, "select_for_relabeling")
    assert fields["strategy"]["default"] == "auto" and "entropy" in fields["strategy"]["type"]["values"]
    assert fields["split"]["type"]["values"] == ["test", "train", "all"]
    params = {"strategy": "entropy", "budget": 4, "split": "train", "tag": "look"}
    result, requests = call(review_set, "select_for_relabeling", params=params)
    entropies = dict(zip(*review_set.match_tags("look").values(["record_id", "run_one_entropy"]), strict=True))
    assert (result["tagged"], set(result["ids"])) == (4, set(entropies))
    assert min(entropies.values()) >= sorted(review_set.match({"split": "train"}).values("run_one_entropy"))[-4]
    assert Path(result["csv"]).parent == run.path.resolve() / "selection"
    assert "set_view" in requests
    bad = call(review_set, "select_for_relabeling", params={"strategy": "luck", "budget": 4})[0]["error"]
    assert "luck" in bad


def test_runs_are_compared_by_their_rectangles(drawn: Dataset, make_run: MakeRun, review_set: Any) -> None:
    import shapely

    assert "Only the run 'run_one'" in form(review_set, "compare_runs")["problem"]["view"]["description"]
    write_run(make_run(drawn, name="run two", shift=25.0), drawn)
    result, requests = call(review_set, "compare_runs", params={"first": "run_two", "second": "run_one"})
    assert result == {"field": "run_two_iou_with_run_one", "images": 24}
    for sample in review_set.limit(5):
        scaled = [
            shapely.Polygon([(240 * x, 160 * y) for x, y in sample[f"{key}_rectangle"].polylines[0].points[0]])
            for key in ("run_one", "run_two")
        ]
        iou = scaled[0].intersection(scaled[1]).area / scaled[0].union(scaled[1]).area
        assert sample.run_two_iou_with_run_one == pytest.approx(iou, abs=1e-4)
    assert {"run_one_rectangle", "run_two_rectangle"} <= set(requests["set_active_fields"]["fields"])
    assert "set_view" in requests
    assert "twice" in call(review_set, "compare_runs", params={"first": "run_one", "second": "run_one"})[0]["error"]
    overlap = review_set.exists("run_two_iou_with_run_one").sort_by("run_two_iou_with_run_one")
    reason = explain(review_set, overlap, overlap.first().id, "run_two").lines[0]
    assert "(of its rectangle with that of run_one): the lowest of 24 images" in reason


def test_score_writes_changes_and_shows_progress(
    run: RunFolder, drawn: Dataset, make_run: MakeRun, review_set: Any
) -> None:
    before = review_set.values("run_one_confidence")
    make_run(drawn, seed=5)
    _, requests = call(review_set, "score", params={"run": "run_one", "images": "written"})
    assert review_set.values("run_one_confidence") != before
    assert requests["set_progress"]["progress"] == 1.0
    assert "24 updated" in requests["show_output"]["results"]["message"]


def test_score_applies_a_corrected_label_and_predicts_again(run: RunFolder, drawn: Dataset, review_set: Any) -> None:
    """The run's predictions here were made up; those of its model, which knows nothing, are others."""
    from rsam_app.config import ModelConfig, TrainConfig
    from rsam_app.model import build_model, save_model

    config = ModelConfig(backbone="test_resnet", weights="none", image_size=64)
    settings = TrainConfig(precision="float32", workers=0)
    run.save_pipeline(run.load_pipeline().model_copy(update={"model": config, "train": settings}))
    save_model(build_model(config, tuple(sorted(drawn.classes))), run.model)  # in the card's order
    assert form(review_set, "score")["images"]["default"] == "changed"
    one = review_set.match({"split": "train"}).first()
    other = next(name for name in drawn.classes if name != one.ground_truth.label)
    one.ground_truth.label = other
    one.save()
    _, requests = call(review_set, "score", params={"images": "changed"})
    messages = requests["show_output"]["results"]["message"]
    assert "1 label" in messages and "New predictions: train, val, test." in messages
    assert max(review_set.values("run_one_confidence")) < 0.6, "a model that knows nothing is not sure"
    assert review_set[one.id].run_one_label_quality == pytest.approx(0.5, abs=0.2)
    assert review_set[one.id].ground_truth.label == other
    view = review_set.match({"split": "test"})
    _, requests = call(review_set, "score", view=view, params={"images": "view"})
    assert "New predictions: test." in requests["show_output"]["results"]["message"]
    _, requests = call(review_set, "score", params={"images": "some"})
    assert "'some' is not a choice" in requests["show_output"]["results"]["error"]


def test_export_writes_the_tagged_images(
    run: RunFolder, review_set: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No image carries a tag" in form(review_set, "export")["problem"]["view"]["description"]
    review_set.limit(3).tag_samples("gold")
    assert form(review_set, "export")["tag"]["type"]["values"] == ["gold"]
    params = {"tag": "gold", "format": "manifest", "folder": str(tmp_path / "gold")}
    _, requests = call(review_set, "export", params=params)
    assert "3 images" in requests["show_output"]["results"]["message"]
    assert (tmp_path / "gold" / "manifest.csv").exists()
    _, requests = call(review_set, "export", params=params)
    assert str(tmp_path / "gold") in requests["show_output"]["results"]["error"], "never over a folder that is there"
    _, requests = call(review_set, "export", params=params | {"folder": "gold"})
    assert "not absolute" in requests["show_output"]["results"]["error"]


def test_export_writes_below_the_allowed_folder_only(
    run: RunFolder, review_set: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, elsewhere, allowed = (tmp_path / name for name in ("started", "elsewhere", "allowed"))
    for folder in (started, elsewhere, allowed):
        folder.mkdir()
    (started / "link").symlink_to(elsewhere)
    monkeypatch.chdir(started)
    review_set.limit(3).tag_samples("gold")

    def export(folder: Path | str) -> dict[str, Any]:
        params = {"tag": "gold", "format": "manifest", "folder": str(folder)}
        results: dict[str, Any] = call(review_set, "export", params=params)[1]["show_output"]["results"]
        return results

    for folder in (elsewhere / "gold", started / "link" / "gold", f"{started}/../elsewhere/gold", "/gold"):
        assert f"the App writes below {started} only.\n" in export(folder)["error"]
    assert not list(elsewhere.iterdir()) and not Path("/gold").exists()
    assert "3 images" in export(started / "gold")["message"]
    monkeypatch.setenv("RSAM_ALLOW_WRITES", str(allowed))
    assert "--allow-writes DIR" in export(started / "gold2")["error"]
    assert "3 images" in export(allowed / "gold")["message"]


def test_apply_and_its_undo(run: RunFolder, drawn: Dataset, review_set: Any) -> None:
    one = review_set.limit(1).values("id")
    call(review_set, "mark", selected=one, params={"decision": "exclude"})
    result, _ = call(review_set, "apply", params={"who": "ann"})
    assert "1 exclude" in result["message"]
    table = corrections_path(run.path, drawn.name)
    assert [c.who for c in read_corrections(table)] == ["ann"]
    result, _ = call(review_set, "apply", params={"who": "ann", "undo": True})
    assert "took back 1 exclude" in result["message"]
    assert review_set[one[0]].review is None
    assert "nothing to undo" in call(review_set, "apply", params={"undo": True})[0]["error"]


def test_a_run_whose_folder_is_gone_is_named(review_set: Any) -> None:
    from rsam_app.review.dataset.schema import memory, remember

    gone = memory(review_set).runs["run_one"].model_copy(update={"path": "/gone/run one"})
    remember(review_set, runs={"run_one": gone})
    assert "/gone/run one" in call(review_set, "apply")[0]["error"]
    assert "/gone/run one" in call(review_set, "score")[1]["show_output"]["results"]["error"]


def test_long_ones_can_be_delegated_and_a_failed_one_says_why(
    run: RunFolder, review_set: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from fiftyone.operators.delegated import DelegatedOperationService

    from rsam_app.review.app.scheduled_operators import run_scheduled

    review_set.limit(3).tag_samples("gold")
    service, messages = DelegatedOperationService(), list[str]()
    for folder, state in ((str(tmp_path / "gold"), "completed"), ("gold", "failed")):
        params = {"tag": "gold", "format": "folder", "folder": folder}
        call(review_set, "export", params=params, request_delegation=True)
        assert run_scheduled(review_set.name, messages.append) == 1
        (operation,) = service.list_operations(dataset_name=review_set.name)
        assert operation.run_state == state
        assert state == "completed" or "not absolute" in operation.result.error
        service.delete_for_dataset(review_set._doc.id)
    assert (tmp_path / "gold").is_dir()
    assert run_scheduled(review_set.name) == 0
    begun, done, _, failed = messages
    assert begun == "RSAM: export tagged images: started" and "3 images" in done
    assert failed.startswith("RSAM: export tagged images: failed: export: the folder 'gold' is not absolute")


def test_the_panel_shows_the_queue_and_its_buttons_decide(review_set: Any) -> None:
    queue = queue_of(review_set, None, "run_one")
    first, second = queue.values("id")[:2]
    _, requests = panel(review_set, "on_load")
    shown = texts(requests)
    assert "**18 left** of 18" in shown and review_set[first].record_id in shown
    assert "Open it" in shown and "Wrong place" not in shown
    _, requests = panel(review_set, "decide", current_sample=first, decision="wrong place")
    assert review_set[first].review == "wrong place"
    assert requests["open_sample"]["id"] == second
    assert "**17 left** of 18 · 1 wrong place · " in texts(requests) and "You marked it" in texts(requests)
    assert "In the next round" in texts(requests)
    _, requests = panel(review_set, "undo", current_sample=second)
    assert review_set[first].review is None and requests["open_sample"]["id"] == first
    panel(review_set, "undo")
    _, requests = panel(review_set, "next_image", current_sample=first)
    assert requests["open_sample"]["id"] == second


def test_the_panel_reports_when_all_are_marked_and_when_it_does_not_apply(
    review_set: Any, fiftyone_module: Any
) -> None:
    call(review_set, "mark_right", selected=review_set.values("id"))
    assert "Every image here has a mark" in texts(panel(review_set, "on_load")[1])
    users_dataset = fiftyone_module.Dataset("foreign, for the panel")
    try:
        assert "does not apply" in texts(panel(users_dataset, "on_load")[1])
    finally:
        users_dataset.delete()


def test_the_panel_says_whether_more_answers_are_worth_giving(review_set: Any, run: RunFolder) -> None:
    assert "answered" not in texts(panel(review_set, "on_load")[1])
    run.update_json(discovery={"answers": 23, "held_out_agreement": 0.584, "flattens_after": 17})
    assert "23 rectangles answered; held-out answers agree .58; after about 20 more" in texts(
        panel(review_set, "on_load")[1]
    )


def panel(review_set: Any, method: str, current_sample: str | None = None, **params: Any) -> tuple[Any, dict[str, Any]]:
    given = {"__method__": method, "panel_id": "panel", "panel_state": {}, **params}
    return call(review_set, "rsam_review", current_sample=current_sample, params=given)


def texts(requests: dict[str, Any]) -> str:
    """Return all that a panel shows."""
    return str(requests["show_panel_output"]["output"])
