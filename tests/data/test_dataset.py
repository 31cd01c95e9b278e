from __future__ import annotations

import os
import shutil

import pytest

from rsam_app.data import load_dataset
from rsam_app.data.splits import NO_TEST
from rsam_app.system.errors import UserError


def test_class_folders_become_a_dataset_with_all_splits(class_folders, card_for) -> None:
    dataset = load_dataset(card_for("folder", class_folders))
    assert {s: len(dataset.split(s)) for s in ("train", "val", "test", "all")} == {
        "train": 15,
        "val": 1,
        "test": 4,
        "all": 20,
    }
    assert dataset.class_index == {"finch": 0, "wren": 1}
    assert {(r.width, r.height) for r in dataset.records} == {(40, 30)}


def test_a_card_that_names_no_test_split_gets_none(class_folders, card_for) -> None:
    dataset = load_dataset(card_for("folder", class_folders, splits={"train": "train"}))
    assert dataset.split("test") == ()
    with pytest.raises(UserError, match="the split 'test' is empty"):
        dataset.require("test")
    assert len(dataset.require("train")) == 18


def test_a_second_load_is_the_same_and_says_the_same(class_folders, card_for, private_cache) -> None:
    card = card_for("folder", class_folders)
    first, second = load_dataset(card), load_dataset(card)
    assert first == second
    assert first.fingerprint == second.fingerprint
    assert [p.suffix for p in private_cache.iterdir()] == [".json"]


def test_the_fingerprint_does_not_depend_on_the_folder_but_on_the_data(class_folders, card_for, tmp_path) -> None:
    before = load_dataset(card_for("folder", class_folders)).fingerprint
    moved = shutil.copytree(class_folders, tmp_path / "moved")
    assert load_dataset(card_for("folder", moved)).fingerprint == before
    os.rename(moved / "wren" / "0.jpg", moved / "wren" / "new.jpg")
    assert load_dataset(card_for("folder", moved)).fingerprint != before


def test_broken_images_below_the_stated_share_are_left_out_and_named(class_folders, card_for) -> None:
    (class_folders / "wren" / "3.jpg").write_text("no image")
    dataset = load_dataset(card_for("folder", class_folders, max_broken_share=0.05))
    assert len(dataset.records) == 19
    assert [(s.path.name, s.reason) for s in dataset.skipped] == [("3.jpg", "not an image")]


def test_more_broken_images_than_the_stated_share_are_an_error(class_folders, card_for) -> None:
    (class_folders / "wren" / "3.jpg").write_text("no image")
    with pytest.raises(UserError) as caught:
        load_dataset(card_for("folder", class_folders, max_broken_share=0.04))
    message = str(caught.value)
    assert "1 of 20 images" in message
    assert "3.jpg: not an image" in message
    assert "max_broken_share" in message
    assert message.count("\n") == 1


def test_a_class_whose_images_are_all_broken_is_named(class_folders, card_for) -> None:
    for path in (class_folders / "wren").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="the class 'wren' has no usable training image"):
        load_dataset(card_for("folder", class_folders, max_broken_share=1))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_without_a_training_image_is_left_out_and_counted(tmp_path, paint, card_for, split) -> None:
    for path in ("train/auk/a.jpg", "train/wren/a.jpg", "test/auk/c.jpg", f"{split}/Wren/b.jpg", f"{split}/Wren/c.jpg"):
        paint(tmp_path / path)
    dataset = load_dataset(card_for("folder", tmp_path))
    assert dataset.classes == ("auk", "wren")
    assert "Wren" not in {r.label for r in dataset.records}
    left_out = [(s.id, s.reason) for s in dataset.skipped]
    assert left_out == [(f"{split}/Wren/{n}.jpg", "its class 'Wren' has no usable training image") for n in "bc"]
    assert any("classes without a usable training image are left out (1): 'Wren'" in note for note in dataset.notes)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_card_can_refuse_classes_without_a_training_image(tmp_path, paint, card_for, split) -> None:
    for path in ("train/auk/a.jpg", "train/wren/a.jpg", f"{split}/Wren/b.jpg"):
        paint(tmp_path / path)
    with pytest.raises(UserError, match=r"'Wren' has no usable training image \(1 in other splits\)"):
        load_dataset(card_for("folder", tmp_path, untrained_classes="refuse"))


def test_with_one_class_to_train_on_the_other_is_refused_by_name(tmp_path, paint, card_for) -> None:
    for path in ("train/auk/a.jpg", "test/wren/a.jpg"):
        paint(tmp_path / path)
    with pytest.raises(UserError, match=r"'wren' has no usable training image \(1 in other splits\)"):
        load_dataset(card_for("folder", tmp_path))


def test_a_release_with_train_alone_gets_both_other_splits(tmp_path, paint, card_for) -> None:
    for label in ("auk", "wren"):
        for n in range(12):
            paint(tmp_path / "train" / label / f"{n}.jpg")
    dataset = load_dataset(card_for("folder", tmp_path))
    assert all(dataset.split(split) for split in ("train", "val", "test"))
    assert any(note.startswith("no test split") for note in dataset.notes)


def test_a_release_with_train_and_val_keeps_them_and_says_what_is_evaluated(tmp_path, paint, card_for) -> None:
    for split, images in (("train", 8), ("val", 4)):
        for label in ("auk", "wren"):
            for n in range(images):
                paint(tmp_path / split / label / f"{n}.jpg")
    dataset = load_dataset(card_for("folder", tmp_path))
    assert {r.split for r in dataset.records} == {"train", "val"}
    assert len(dataset.split("val")) == 8
    assert NO_TEST in dataset.notes


def test_one_class_is_not_enough(class_folders, card_for) -> None:
    shutil.rmtree(class_folders / "wren")
    with pytest.raises(UserError, match="one class only, 'finch'"):
        load_dataset(card_for("folder", class_folders))


def test_a_class_with_one_image_keeps_it_in_train(class_folders, paint, card_for) -> None:
    paint(class_folders / "rare" / "only.jpg")
    for seed in range(3):
        splits = {r.id: r.split for r in load_dataset(card_for("folder", class_folders), seed).records}
        assert splits["rare/only.jpg"] == "train"


def test_an_empty_train_split(tmp_path, paint, card_for) -> None:
    paint(tmp_path / "test" / "auk" / "a.jpg")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"the split 'train' .* is empty"):
        load_dataset(card_for("folder", tmp_path))


def test_a_manifest_with_boxes_masks_and_awkward_names(tmp_path, paint, card_for) -> None:
    rows = ["path,label,split,x,y,width,height,mask"]
    for n in range(4):
        paint(tmp_path / "Bilder" / f"ä {n}.jpg")
        paint(tmp_path / "m" / f"{n}.png", mode="L")
        rows.append(f'"Bilder/ä {n}.jpg",{"auk" if n % 2 else "wren"},train,-5,2,20,10,m/{n}.png')
    rows.append("Bilder/ä 0.jpg,wren,train,500,500,3,3,m/0.png")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    dataset = load_dataset(card_for("manifest", tmp_path / "manifest.csv"))
    assert {r.boxes for r in dataset.records} == {((-5, 2, 20, 10),)}
    assert all(r.mask for r in dataset.records)
    assert any("outside of their image" in note and "ä 0.jpg" in note for note in dataset.notes)
