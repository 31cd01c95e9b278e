"""A dataset of the user's, made by FiftyOne's own importer: trained from, reviewed in place, left as it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import yaml
from command import rsam

from rsam_app.config import load_card, load_pipeline
from rsam_app.data import load_images
from rsam_app.geometry.types import Rectangle
from rsam_app.review.analysis.compare_runs import compare_runs, write_changes
from rsam_app.review.app.install_plugin import link_plugin
from rsam_app.review.dataset.fields import workspace_name
from rsam_app.review.dataset.fiftyone_internals import database, dataset_id, sample_collection
from rsam_app.review.decisions.apply import apply_to, undo_last
from rsam_app.review.decisions.marks import mark
from rsam_app.review.import_dataset import card_name
from rsam_app.review.remove import remove
from rsam_app.review.tagging import tag_records
from rsam_app.review.write_back import write_back
from rsam_app.review.writing.write_located import write_located
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.workflow.from_fiftyone import pipeline_from_fiftyone

KEY = "run_one"


def state(dataset: Any) -> dict[str, Any]:
    """All that FiftyOne stores of a dataset, but when it was modified."""
    dataset.reload()
    ignored = ("last_modified_at", "last_loaded_at", "last_deletion_at", "version")
    stored, identifier = database(), dataset_id(dataset)
    document = stored.datasets.find_one({"_id": identifier})
    kept = {name: value for name, value in document.items() if name not in ignored and value not in (None, [], {})}
    found: dict[str, Any] = {"dataset": kept}
    for entry in found["dataset"]["sample_fields"]:
        entry.pop("last_modified_at", None)
    samples = sample_collection(dataset).find().sort("_id")
    found["samples"] = [{n: v for n, v in sample.items() if n not in ignored} for sample in samples]
    for collection in ("views", "workspaces", "runs", "execution_store", "delegated_ops"):
        links = [{"_dataset_id": identifier}, {"dataset_id": identifier}, {"_dataset_id": str(identifier)}]
        found[collection] = [
            {n: v for n, v in entry.items() if n not in ignored} for entry in stored[collection].find({"$or": links})
        ]
    found["indexes"] = sorted(dataset.get_index_information())
    return found


def test_everything_of_the_users_is_as_before(users, card, make_run):
    before = state(users)
    report = write_run(make_run(card), card, into=users.name)
    users.reload()
    assert (report.dataset, report.added, len(users)) == (users.name, 0, len(before["samples"]))
    assert users.count(f"{KEY}_prediction") == len(card.records)
    assert users.has_saved_view(f"{KEY} misattended") and users.has_workspace(workspace_name(KEY))
    assert users.distinct("rsam_split") == ["test", "train"] and users.distinct("split") == ["a", "b"]
    removed = remove(users.name)
    assert removed.fields > 20 and removed.broken_views == ()
    assert state(users) == before
    with pytest.raises(UserError, match="nothing in it is RSAM's"):
        remove(users.name)


def customise(fo: ModuleType, mine: Any) -> None:
    """Give the dataset an App arrangement and FiftyOne runs of the user's."""
    mine.app_config.sidebar_groups = [
        fo.SidebarGroupDocument(name="first", paths=["split", "ground_truth"], expanded=False),
        fo.SidebarGroupDocument(name="rest", paths=["weight_g", "tags"]),
    ]
    mine.app_config.active_fields = fo.ActiveFields(paths=["ground_truth"])
    mine.app_config.color_scheme = fo.ColorScheme(fields=[{"path": "ground_truth", "fieldColor": "#ff0000"}])
    mine.classes = {"ground_truth": ["a", "b"]}
    mine.set_values("guess", [fo.Classification(label=label) for label in mine.values("ground_truth.label")])
    mine.update_label_schema("weight_g", {"type": "float", "component": "text"})
    mine.save_workspace("plain", fo.Space(children=[fo.Panel(type="Samples", pinned=True)]))
    mine.evaluate_classifications("guess", "ground_truth", eval_key="theirs", progress=False)
    mine.create_index("weight_g")
    mine.save()


def test_an_arranged_app_decisions_selections_and_two_runs(users, card, make_run, fiftyone_module):
    customise(fiftyone_module, users)
    before = state(users)
    first, second = make_run(card), make_run(card, name="run two", shift=20.0, seed=3)
    write_run(first, card, into=users.name)
    write_run(second, card, into=users.name)
    users.reload()
    chosen = users.limit(3).values("id")
    mark(users, chosen[:1], "accept", "run_two", "Ann")
    mark(users, chosen[1:2], "exclude", "run_two", "Ann")
    mark(users, chosen[2:], "wrong label", "run_two", "Ann", labels={chosen[2]: "crow"})
    report = apply_to(second, users.name, "run_two", "Ann")
    assert sorted(correction.kind for correction in report.added) == ["exclude", "label", "rectangle"]
    assert report.path.name == f"{card.name}.csv" and report.problems == []
    tag_records(users.name, [card.records[5].id], "relabel")
    assert {part for part, found in state(users).items() if found} >= {"views", "workspaces", "runs", "execution_store"}
    compare_runs(users, KEY, "run_two")
    write_changes(users, KEY, "run_two", {card.records[0].id: "fixed"})
    write_located(users, "run_two", {card.records[0].id: Rectangle(50, 50, 20, 20, 0.0)}, [card.records[0].id])
    assert write_run(second, card, into=users.name).updated == 0
    undo_last(second, users.name, "run_two", "Ann")
    users.reload()
    assert users.values("ground_truth.label") == [s["ground_truth"]["label"] for s in before["samples"]]
    remove(users.name)
    assert state(users) == before


def test_what_the_user_adds_meanwhile_stays(users, card, make_run):
    write_run(make_run(card), card, into=users.name)
    users.reload()
    users.save_view("mine, unsure", users.sort_by(f"{KEY}_margin"))
    users.limit(2).tag_samples("new")
    users.app_config.sidebar_groups = users.app_config.sidebar_groups[::-1]
    users.save()
    order = [group.name for group in users.app_config.sidebar_groups if group.name not in ("decisions", KEY, "RSAM")]
    assert remove(users.name).broken_views == ("mine, unsure",)
    users.reload()
    assert users.list_saved_views() == ["heavy", "mine, unsure"] and users.count_sample_tags()["new"] == 2
    assert [group.name for group in users.app_config.sidebar_groups] == order


@pytest.mark.parametrize(
    ("arrange", "named"),
    [
        (lambda fo, mine: mine.add_sample_field("review", fo.StringField), "a field 'review'"),
        (lambda fo, mine: mine.add_sample_field("run_one_note", fo.StringField), "a field 'run_one_note'"),
        (lambda fo, mine: mine.add_sample_field("rsam_split", fo.StringField), "a field 'rsam_split'"),
        (lambda fo, mine: mine.limit(1).tag_samples("Exclude "), "the tag 'Exclude '"),
        (lambda fo, mine: mine.save_workspace("run_one review", fo.Space(children=[])), "a workspace"),
    ],
)
def test_a_name_that_is_taken_is_refused(users, card, make_run, fiftyone_module, arrange, named):
    arrange(fiftyone_module, users)
    before = state(users)
    with pytest.raises(UserError, match=named) as refused:
        write_run(make_run(card), card, into=users.name)
    assert "\n" not in str(refused.value) and state(users) == before


def test_samples_that_are_gone_moved_or_twice(users, card, make_run, tmp_path):
    run = make_run(card)
    gone, twice = users.limit(2)
    users.add_sample(twice.copy())
    write_run(run, card, into=users.name)
    users.delete_samples([gone.id])
    report = write_run(run, card, into=users.name)
    assert report.without_sample == [gone.filepath] and report.added == 0
    assert f"1 images have no sample of their own in {users.name!r}" in report.notes[0]
    users.reload()
    assert users.exists("record_id").count() == len(card.records) - 1 == len(users) - 1
    assert apply_to(run, users.name, KEY, "Ann").problems == []
    there = card.records[3]
    shutil.copy(there.path, tmp_path / "moved.png")
    sample = users.match({"filepath": str(there.path)}).first()
    sample.filepath = str(tmp_path / "moved.png")
    sample.save()
    moved = replace(there, id=sample.filepath, path=tmp_path / "moved.png")
    write_run(run, replace(card, records=(*card.records[:3], moved, *card.records[4:])), into=users.name)
    users.reload()
    assert users[sample.id].record_id == moved.id and users[sample.id].filepath == moved.id
    with pytest.raises(UserError, match="the tag 'checked' is yours"):
        tag_records(users.name, [card.records[4].id], "checked")
    with pytest.raises(UserError, match="has runs of the card"):
        write_run(make_run(card, name="run two"), replace(card, name="other"), into=users.name)
    before = len(users)
    remove(users.name)
    assert len(users) == before


def test_a_dataset_that_rsam_created_is_refused(card, make_run, review_set):
    with pytest.raises(UserError, match="RSAM created it"):
        write_run(make_run(card), card, into=review_set.name)
    with pytest.raises(UserError, match="delete it in FiftyOne"):
        remove(review_set.name)


def test_other_kinds_of_samples_are_named(users, card, make_run, fiftyone_module):
    fo = fiftyone_module
    boxed = fo.Dataset()
    box = fo.Detections(detections=[fo.Detection(label="bird", bounding_box=[0, 0, 1, 1])])
    boxed.add_sample(fo.Sample(filepath=users.first().filepath, birds=box))
    grouped, filmed, scene = fo.Dataset(), fo.Dataset(), fo.Dataset()
    grouped.add_group_field("group", default="left")
    group = fo.Group()
    grouped.add_sample(fo.Sample(filepath=users.first().filepath, group=group.element("left")))
    filmed.media_type, scene.media_type = "video", "3d"
    filmed.add_sample(fo.Sample(filepath="film.mp4"))
    scene.add_sample(fo.Sample(filepath="scene.fo3d"))
    kinds = ("patches", "groups", "videos", "3-D scenes")
    for kind, dataset in zip(kinds, (boxed.to_patches("birds").clone(), grouped, filmed, scene), strict=True):
        with pytest.raises(UserError, match=f"contains {kind}; samples with one image each") as refused:
            write_run(make_run(card), card, into=dataset.name)
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="FiftyOne has no dataset 'gone'"):
        write_run(make_run(card), card, into="gone")


def test_run_on_it_review_in_it_and_take_it_out_by_commands(users, tmp_path):
    before = state(users)
    run, pipeline = tmp_path / "runs" / "tiny", tmp_path / "tiny.yaml"
    pipeline.write_text(
        "{dataset: none, model: {backbone: test_resnet, weights: none, image_size: 64}, train: {epochs: 1}}"
    )
    arguments = ("run", pipeline, "--from-fiftyone", users.name, "--run", run, "--label-field", "ground_truth")
    users.set_values("review", ["mine"] * len(users))
    refused = rsam(*arguments, "--set", f"review.into={users.name}", check=2).stderr
    assert "a field 'review' of yours" in refused and not (run / "run.json").exists()
    users.delete_sample_field("review")
    rsam(*arguments, "--set", f"review.into={users.name}")
    users.reload()
    assert users.count("tiny_prediction") == len(users) == users.count("rsam_ground_truth")
    assert Job.of_pipeline(str(pipeline), ["dataset=cub_200_2011"], run, Reporter()).review_dataset == users.name
    mark(users, users.limit(1).values("id"), "exclude", "tiny", "Ann")
    assert json.loads(rsam("apply", run, "--json").stdout)["added"][0]["kind"] == "exclude"
    shown = json.loads(rsam("review", run, "--no-app", "--json").stdout.partition("}")[0] + "}")
    assert shown == {"dataset": users.name, "run": str(run), "key": "tiny"}
    assert json.loads(rsam("review", run, "--remove", "--json").stdout)["dataset"] == users.name
    assert state(users) == before
    assert RunFolder(run).load_pipeline().review.into is None
    assert "is reviewed in a dataset of its own" in rsam("review", run, "--remove", check=2).stderr


def test_a_view_a_backbone_and_no_label(users, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    users.limit(2).set_values("ground_truth", [None, None])
    reference, override = pipeline_from_fiftyone("resnet18.a1_in1k", users.name, None, said.append)
    assert load_pipeline(reference, override).model.backbone == "resnet18.a1_in1k"
    whole = load_card(yaml.safe_load(override[0].partition("=")[2]))
    assert len(load_images(whole).records) == len(users) and "2 samples have no label" in said[1]
    _, narrowed = pipeline_from_fiftyone(reference, users.name, None, said.append, view="heavy")
    card = load_card(yaml.safe_load(narrowed[0].partition("=")[2]))
    assert card.name == whole.name and len(load_images(card).records) == len(users.load_saved_view("heavy"))
    with pytest.raises(UserError, match="has no saved view 'light'"):
        pipeline_from_fiftyone(reference, users.name, None, said.append, view="light")
    with pytest.raises(UserError, match="no such file, and no such name in pipelines"):
        pipeline_from_fiftyone("resnet18x", users.name, None, said.append)


def test_decisions_are_written_into_fields_that_the_user_names(users, card, make_run):
    write_run(make_run(card), card, into=users.name)
    users.reload()
    users.set_values("kind", [label.lower() for label in users.values("ground_truth.label")])
    ids, before = users.values("id"), users.values("ground_truth.label")
    mark(users, ids[:1], "accept", KEY, "Ann")
    mark(users, ids[1:2], "wrong label", KEY, "Ann", labels={ids[1]: "crow"})
    tag_records(users.name, [users[ids[2]].record_id], "relabel")
    for refused, why in (
        ("labels=review", "RSAM's own"),
        ("labels=weight_g", "neither a Classification nor text"),
        ("targets=kind", "your field 'kind' exists"),
        ("marks=mine", "expected one of labels=FIELD"),
    ):
        with pytest.raises(UserError, match=why):
            write_back(users.name, ["tags=new", refused])
    assert not users.has_sample_field("new")
    pairs = ["labels=ground_truth", "labels=kind", "targets=object", "tags=said"]
    assert write_back(users.name, pairs) == write_back(users.name, pairs)
    remove(users.name)
    users.reload()
    assert users.values("ground_truth.label") == [before[0], "crow", *before[2:]]
    assert users.values("kind") == [before[0].lower(), "crow", *(label.lower() for label in before[2:])]
    assert [i for i, found in zip(ids, users.values("object.detections.label"), strict=True) if found] == ids[:1]
    assert users.values("said")[:4] == [["accept"], ["wrong label"], ["relabel"], None]
    assert users.count_sample_tags() == {"checked": 5}


def test_training_on_a_view_from_the_app(users, tmp_path, monkeypatch, fiftyone_module):
    monkeypatch.chdir(tmp_path)
    link_plugin()
    view = users.load_saved_view("heavy")
    shown = {"view": view, "params": {"name": "small", "label": "ground_truth", "backbone": "nothing_such"}}
    result = fiftyone_module.operators.execute_operator("@rsam/review/train_on_view", ctx=shown)
    requests = {r["operator_uri"]: r["params"] for r in result.executor.to_json()["requests"]}
    assert "nothing_such" in requests["show_output"]["results"]["error"]  # by `rsam run`, in a process of its own
    listed = load_images(load_card(tmp_path / "runs" / "cards" / "small" / f"{card_name(users.name)}.yaml")).records
    assert sorted(str(r.path) for r in listed) == sorted(view.values("filepath"))
