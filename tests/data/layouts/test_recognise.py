"""`recognise`: which layout reads a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsam_app.data.layouts.recognise import recognise
from rsam_app.system.errors import UserError


def images(folder: Path, *names: str) -> None:
    """Create files that are listed, not opened."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        recognise(path, "x")
    message = str(caught.value)
    assert len(message.splitlines()) <= 2
    return message


def test_class_folders(tmp_path):
    images(tmp_path, "bolt/1.jpg", "nut/1.jpg", "nut/2.jpg")
    card, listing = recognise(tmp_path, "parts")
    assert (card.name, card.layout, card.root, card.unlabelled) == ("parts", "folder", str(tmp_path), "")
    assert listing.classes == ("bolt", "nut") and len(listing.records) == 3


def test_class_folders_below_splits(tmp_path):
    images(tmp_path, "Train/bolt/1.jpg", "Train/nut/1.jpg", "valid/bolt/1.jpg", "valid/nut/1.jpg")
    card, listing = recognise(tmp_path, "parts")
    assert card.layout == "folder" and {r.split for r in listing.records} == {"Train", "valid"}


@pytest.mark.parametrize("given", ["", "list.csv"])
def test_a_manifest_given_as_file_or_by_its_folder(tmp_path, given):
    (tmp_path / "list.csv").write_text("path,label\na.jpg,bolt\nb.jpg,nut\n")
    (tmp_path / "other.csv").write_text("id,price\n1,2\n")
    images(tmp_path, "photos/a.jpg", "photos/b.jpg")
    card, listing = recognise(tmp_path / given, "parts")
    assert (card.layout, card.root) == ("manifest", str(tmp_path / "list.csv"))
    assert listing.classes == ("bolt", "nut")


def test_several_manifests_are_refused(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("path,label\na.jpg,bolt\nb.jpg,nut\n")
    assert "a.csv, b.csv" in refused(tmp_path) and f"rsam init {tmp_path / 'a.csv'}" in refused(tmp_path)


def coco(path: Path, *labels: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = sorted(set(labels))
    content = {
        "images": [{"id": i, "file_name": f"{path.stem}/{i}.jpg"} for i in range(len(labels))],
        "annotations": [
            {"image_id": i, "category_id": kinds.index(label), "bbox": [1, 2, 3, 4]} for i, label in enumerate(labels)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(kinds)],
    }
    path.write_text(json.dumps(content))


def test_coco_files_with_and_without_splits(tmp_path):
    coco(tmp_path / "one" / "labels.json", "bolt", "nut")
    card, listing = recognise(tmp_path / "one", "parts")
    assert card.layout == "inaturalist" and card.splits == {"train": "labels"}
    assert all(record.boxes == ((1, 2, 3, 4),) for record in listing.records)
    coco(tmp_path / "two" / "annotations" / "instances_train2017.json", "bolt", "nut")
    coco(tmp_path / "two" / "annotations" / "instances_val2017.json", "bolt", "nut")
    (tmp_path / "two" / "settings.json").write_text("{}")
    card, _ = recognise(tmp_path / "two", "parts")
    assert card.splits == {"train": "instances_train2017", "val": "instances_val2017"}


def test_a_shard_of_hugging_face(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"image": [{"path": "a.jpg", "bytes": None}, {"path": "b.jpg", "bytes": None}], "label": ["bolt", "nut"]}
    pq.write_table(pa.table(rows), tmp_path / "train-00000-of-00001.parquet")
    card, listing = recognise(tmp_path, "parts")
    assert card.layout == "huggingface" and listing.classes == ("bolt", "nut")


def test_an_official_release_keeps_the_splits_of_its_card(tmp_path):
    images(tmp_path, "images/Abyssinian_1.jpg", "images/pug_1.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "trainval.txt").write_text("Abyssinian_1 1 1 1\n")
    (tmp_path / "annotations" / "test.txt").write_text("pug_1 2 2 1\n")
    card, listing = recognise(tmp_path, "pets")
    assert (card.name, card.layout, card.root) == ("pets", "oxford_iiit_pet", str(tmp_path))
    assert card.splits == {"train": "trainval", "test": "test"} and len(listing.records) == 2
    assert card.licence.startswith("CC BY-SA")


def test_photographs_without_labels(tmp_path):
    images(tmp_path, "1.jpg", "2.png", "notes.txt")
    card, listing = recognise(tmp_path, "new")
    assert card.unlabelled == str(tmp_path)
    assert listing.records == () and listing.notes == ()


def test_what_does_not_fit_is_refused_with_what_is_expected(tmp_path):
    assert "does not exist" in refused(tmp_path / "gone")
    assert "has no images that can be read" in refused(tmp_path)
    (tmp_path / "list.txt").write_text("a b\n")
    assert "neither a folder nor a .csv" in refused(tmp_path / "list.txt")
    images(tmp_path, "photos/1.jpg")
    assert f"rsam init {tmp_path / 'photos'}" in refused(tmp_path)
