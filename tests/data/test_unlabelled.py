"""Unlabelled images: separate from training and evaluation, and part of training once they are labelled."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from command import rsam
from PIL import Image

from rsam_app.data import UNLABELLED, load_dataset
from rsam_app.run.corrections import Correction, apply_corrections
from rsam_app.system.errors import UserError


def test_a_blank_label_is_an_image_to_be_labelled(tmp_path, paint, card_for) -> None:
    rows = ["path,label,split"]
    for number in range(12):
        paint(tmp_path / f"{number}.jpg")
        label = "" if number >= 8 else ("auk", "wren")[number % 2]
        rows.append(f"{number}.jpg,{label},{('train', 'test')[number in (6, 7)] if number < 10 else ''}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    dataset = load_dataset(card_for("manifest", tmp_path / "manifest.csv"))
    assert [r.id for r in dataset.split(UNLABELLED)] == ["8.jpg", "9.jpg", "10.jpg", "11.jpg"]
    assert {r.label for r in dataset.split(UNLABELLED)} == {""} and dataset.classes == ("auk", "wren")
    assert sum(len(dataset.split(s)) for s in ("train", "val", "test")) == 8
    assert all(r.width == 40 for r in dataset.split(UNLABELLED))
    assert any("4 images have no label" in note for note in dataset.notes)


def test_without_splits_a_test_split_is_held_out_of_labelled_images_only(tmp_path, paint, card_for) -> None:
    rows = ["path,label"]
    for number in range(30):
        paint(tmp_path / f"{number}.jpg")
        rows.append(f"{number}.jpg,{['auk', 'wren', ''][number % 3]}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    dataset = load_dataset(card_for("manifest", tmp_path / "manifest.csv"))
    assert {s: len(dataset.split(s)) for s in ("train", "val", "test", UNLABELLED)} == {
        "train": 11,
        "val": 1,
        "test": 8,
        UNLABELLED: 10,
    }
    assert {r.label for r in dataset.split("test")} == {"auk", "wren"}


def test_a_link_to_a_labelled_image_is_not_unlabelled(class_folders, tmp_path, paint, card_for) -> None:
    paint(tmp_path / "new" / "a.jpg")
    (tmp_path / "new" / "b.jpg").symlink_to(tmp_path / "new" / "a.jpg")
    (tmp_path / "new" / "c.jpg").symlink_to(class_folders / "wren" / "0.jpg")
    dataset = load_dataset(card_for("folder", class_folders, unlabelled=str(tmp_path / "new")))
    assert [r.id for r in dataset.split(UNLABELLED)] == ["unlabelled/a.jpg"]
    named = "unlabelled/b.jpg (is unlabelled/a.jpg)"
    assert f"1 links to images that are listed already are left out: {named}" in dataset.notes


def test_a_test_image_without_a_label_is_refused(tmp_path, paint, card_for) -> None:
    for name in "abcd":
        paint(tmp_path / f"{name}.jpg")
    text = "path,label,split\na.jpg,auk,train\nb.jpg,wren,train\nc.jpg,auk,test\nd.jpg,,test\n"
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(UserError, match=r"'d\.jpg' has no label, but is in the split 'test'"):
        load_dataset(card_for("manifest", tmp_path / "manifest.csv"))


@pytest.mark.parametrize("inside", [True, False])
def test_a_card_may_name_a_folder_of_them(class_folders, tmp_path, paint, card_for, inside) -> None:
    folder = (class_folders if inside else tmp_path) / "new"
    for name in ("deep/a.jpg", "b.jpg"):
        paint(folder / name)
    (folder / "notes.txt").write_text("hello")
    before = load_dataset(card_for("folder", class_folders)) if not inside else None
    dataset = load_dataset(card_for("folder", class_folders, unlabelled=str(folder)))
    assert [r.id for r in dataset.split(UNLABELLED)] == ["unlabelled/b.jpg", "unlabelled/deep/a.jpg"]
    assert dataset.classes == ("finch", "wren") and len(dataset.records) == 22
    assert any("notes" not in note and "1 files without an image suffix" in note for note in dataset.notes)
    if before:
        assert dataset.fingerprint == before.fingerprint, "no model learns from them"


def test_what_a_manifest_gave_a_label_is_not_listed_twice(tmp_path, paint, card_for) -> None:
    for name in ("a", "b", "c", "d", "e"):
        paint(tmp_path / "new" / f"{name}.jpg")
    rows = "".join(f"new/{name}.jpg,{label}\n" for name, label in zip("abcd", ("auk", "wren") * 2, strict=True))
    (tmp_path / "manifest.csv").write_text("path,label\n" + rows)
    card = card_for("manifest", tmp_path / "manifest.csv", unlabelled=str(tmp_path / "new"), splits={"train": "train"})
    assert [r.id for r in load_dataset(card).split(UNLABELLED)] == ["unlabelled/e.jpg"]


def test_a_missing_folder_is_named(class_folders, tmp_path, card_for) -> None:
    with pytest.raises(UserError, match="`unlabelled` in the card tiny needs that folder"):
        load_dataset(card_for("folder", class_folders, unlabelled=str(tmp_path / "nowhere")))


def test_a_label_given_makes_a_training_image_and_taken_back_none(class_folders, paint, card_for) -> None:
    for name in "ab":
        paint(class_folders / "new" / f"{name}.jpg")
    dataset = load_dataset(card_for("folder", class_folders, unlabelled=str(class_folders / "new")))
    given = [Correction(f"unlabelled/{name}.jpg", "label", "", "wren", "Ann", f"t{name}", "r") for name in "ab"]
    back = Correction("unlabelled/b.jpg", "label", "wren", "", "Ann", "later", "r")
    corrected, *_ = apply_corrections(dataset, [*given, back])
    found = {r.id: (r.label, r.split) for r in corrected.records if r.id.startswith(UNLABELLED)}
    assert found == {"unlabelled/a.jpg": ("wren", "train"), "unlabelled/b.jpg": ("", UNLABELLED)}
    assert corrected.fingerprint != dataset.fingerprint
    gull = [Correction("unlabelled/a.jpg", "label", "", "gull", "Ann", "t", "r")]
    assert apply_corrections(dataset, gull).dataset.classes == (*dataset.classes, "gull")


def test_a_dataset_without_any_label_gets_its_classes_from_the_first_ones(tmp_path, paint, card_for) -> None:
    for name in "abcd":
        paint(tmp_path / f"{name}.jpg")
    (tmp_path / "manifest.csv").write_text("path,label\n" + "".join(f"{name}.jpg,\n" for name in "abcd"))
    card = card_for("manifest", tmp_path / "manifest.csv")
    with pytest.raises(
        UserError, match=r"no image to train on has a label yet.\n.*`rsam label CARD`.*`rsam select-first "
    ):
        load_dataset(card)
    given = {"c.jpg": "wren", "a.jpg": "auk", "b.jpg": "wren", "gone.jpg": "tern"}
    dataset = load_dataset(card, first_labels=given)
    assert dataset.classes == ("wren", "auk")
    assert {r.id: r.label for r in dataset.records} == {"a.jpg": "auk", "b.jpg": "wren", "c.jpg": "wren", "d.jpg": ""}
    assert [r.id for r in dataset.split(UNLABELLED)] == ["d.jpg"]


def test_a_dataset_with_labels_of_one_class_gets_the_others_from_the_first_ones(tmp_path, paint, card_for) -> None:
    for name in "abcd":
        paint(tmp_path / f"{name}.jpg")
    (tmp_path / "manifest.csv").write_text("path,label\na.jpg,auk\nb.jpg,auk\nc.jpg,\nd.jpg,\n")
    card = card_for("manifest", tmp_path / "manifest.csv")
    with pytest.raises(UserError, match=r"2 images have a label, all of one class, 'auk'.*\nLabel at least 1 more"):
        load_dataset(card)
    dataset = load_dataset(card, first_labels={"a.jpg": "tern", "c.jpg": "wren"})
    assert dataset.classes == ("auk", "wren")
    assert {r.id: r.label for r in dataset.records} == {"a.jpg": "auk", "b.jpg": "auk", "c.jpg": "wren", "d.jpg": ""}


def test_from_photographs_without_a_label_to_the_next_model(tmp_path, fiftyone_module) -> None:
    """Unlabelled images are predicted, shown, selected, labelled in FiftyOne, and trained on."""
    rng, rows = np.random.default_rng(0), ["path,label,split"]
    for i in range(32):
        image = rng.integers(90, 140, (40, 40, 3)).astype(np.uint8)
        image[8:30, 8:30] = ((220, 40, 40), (40, 200, 60))[i % 2]
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
        label, split = ("red", "green")[i % 2], "test" if i >= 24 else "train"
        rows.append(f"{i:02}.png,{'' if 12 <= i < 24 else label},{split if i < 12 or i >= 24 else ''}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    card = {"name": "half_labelled", "layout": "manifest", "root": str(tmp_path / "manifest.csv"), "licence": "CC0"}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    settings = {
        "dataset": str(tmp_path / "card.yaml"),
        "model": {"backbone": "test_resnet", "weights": "none", "image_size": 32},
        "train": {"epochs": 1, "batch_size": 8, "workers": 0, "precision": "float32"},
        "select": {"budget": 3},
    }
    pipeline, run = tmp_path / "blocks.yaml", tmp_path / "runs" / "blocks"
    pipeline.write_text(yaml.safe_dump(settings))
    rsam("run", pipeline, "--run", run)
    table = pq.read_table(run / "predictions" / "unlabelled.parquet").to_pylist()
    assert len(table) == 12 and {row["label"] for row in table} == {None}
    assert all(row["predicted"] in ("red", "green") and row["label_quality"] is None for row in table)
    assert json.loads((run / "evaluation" / "metrics.json").read_text())["n"] == 8

    review_set = fiftyone_module.load_dataset("half_labelled")
    blank = review_set.load_saved_view("without a label")
    assert len(blank) == 12 and not set(blank.values("record_id")) & set(
        review_set.exists("ground_truth").values("record_id")
    )
    assert not set(review_set.load_saved_view("blocks wrong").values("record_id")) & set(blank.values("record_id"))
    assert len(review_set.load_saved_view("decided")) == 0
    assert set(blank.values("blocks_triage")) == {None} != set(review_set.values("blocks_triage"))

    rsam("select", run, "--split", "unlabelled", "--budget", 4, "--tag", "next")
    manifest = json.loads(next((run / "selection").glob("auto-4-unlabelled-*.json")).read_text())
    chosen = manifest["ids"]
    assert set(review_set.match_tags("next").values("record_id")) == set(chosen) <= {row["id"] for row in table}
    assert any("by transductive_design" in note for note in manifest["notes"])

    for sample in review_set.match_tags("next"):
        sample["ground_truth"] = fiftyone_module.Classification(
            label=("red", "green")[int(sample["record_id"][:2]) % 2]
        )
        sample.save()
    assert len(review_set.load_saved_view("decided")) == 4 and len(blank) == 8
    rsam("apply", run)
    rsam("run", pipeline, "--run", run, "--round")
    second = run.with_name("blocks-round2")
    trained = [
        row for row in pq.read_table(second / "predictions" / "train.parquet").to_pylist() if row["id"] in chosen
    ]
    assert len(trained) == 4 and {row["label"] for row in trained} == {"red", "green"} & {
        row["label"] for row in trained
    }
    assert pq.read_table(second / "predictions" / "unlabelled.parquet").num_rows == 8

    rsam("apply", run, "--undo")
    assert len(review_set.load_saved_view("without a label")) == 12
