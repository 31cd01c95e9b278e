"""Files and folders of systems, and those that the card ignores, are no classes and no images, and are counted."""

from __future__ import annotations

import pytest

from rsam_app.config import Card
from rsam_app.data import load_dataset
from rsam_app.data.layouts import read_listing
from rsam_app.data.layouts.ignored import is_of_system

FOLDERS = [
    "@eaDir",
    "__MACOSX",
    "lost+found",
    ".thumbnails",
    "$RECYCLE.BIN",
    "System Volume Information",
    ".Trash-1000",
]


def ignored(listing) -> list[str]:
    return [note.partition(": ")[2] for note in listing.notes]


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_systems_are_no_classes_and_hold_no_images(class_folders, paint, card_for, name) -> None:
    before = read_listing(card_for("folder", class_folders))
    paint(class_folders / name / "000.jpg" / "THUMB.jpg")
    paint(class_folders / "wren" / name / "0.jpg")
    listing = read_listing(card_for("folder", class_folders))
    assert (listing.records, listing.classes) == (before.records, before.classes)
    pattern = ".Trash-*" if name == ".Trash-1000" else name
    assert ignored(listing) == [f"2 {pattern} of the system ignored"]


def test_the_same_inside_splits_and_among_unlabelled_images(tmp_path, paint, card_for) -> None:
    for folder in ("train/auk", "train/wren", "@eaDir/auk", "train/@eaDir", "train/auk/@eaDir", "new/@eaDir", "new"):
        for n in range(3):
            paint(tmp_path / "d" / folder / f"{n}.png")
    dataset = load_dataset(card_for("folder", tmp_path / "d", unlabelled=str(tmp_path / "d" / "new")))
    assert dataset.classes == ("auk", "wren") and len(dataset.records) == 9
    assert f"{tmp_path / 'd'}: 3 @eaDir of the system ignored" in dataset.notes
    assert f"{tmp_path / 'd' / 'new'}: 1 @eaDir of the system ignored" in dataset.notes


def test_files_of_systems_in_any_case(class_folders, paint, card_for) -> None:
    for name in ("Thumbs.db", ".DS_Store", "._0.jpg", "._1.jpg"):
        (class_folders / "wren" / name).write_text("x")
    (class_folders / "thumbs.DB").write_text("x")
    listing = read_listing(card_for("folder", class_folders))
    assert ignored(listing) == [
        "1 .DS_Store of the system ignored",
        "2 ._* of the system ignored",
        "2 Thumbs.db of the system ignored",
    ]


def test_names_that_only_resemble_them_are_data() -> None:
    assert not any(
        map(is_of_system, ("eaDir", "lost", "MACOSX", "thumbnails", "recycle.bin", "wren._a", "Thumbs.db.jpg"))
    )


def test_the_card_names_more_by_name_at_any_depth_or_by_path(class_folders, paint, card_for) -> None:
    paint(class_folders / "drafts" / "a.jpg")
    paint(class_folders / "finch" / "deep" / "a_mask.png")
    card = card_for("folder", class_folders, ignore=["drafts", "*_mask.png", "wren/[0-3].jpg"])
    listing = read_listing(card)
    assert listing.classes == ("finch", "wren") and len(listing.records) == 16
    assert ignored(listing) == [
        "1 '*_mask.png' (`ignore` in the card) ignored",
        "1 'drafts' (`ignore` in the card) ignored",
        "4 'wren/[0-3].jpg' (`ignore` in the card) ignored",
    ]


def test_the_card_ignores_rows_of_a_manifest_too(tmp_path, paint, card_for) -> None:
    rows = "".join(f"{folder}/{n}.png,{label}\n" for folder in ("a", "b/old") for n, label in ((1, "auk"), (2, "wren")))
    (tmp_path / "manifest.csv").write_text("path,label\n" + rows)
    listing = read_listing(card_for("manifest", tmp_path / "manifest.csv", ignore=["old"]))
    assert [r.id for r in listing.records] == ["a/1.png", "a/2.png"]
    assert ignored(listing) == ["2 'old' (`ignore` in the card) ignored"]


def test_a_blank_glob_is_refused() -> None:
    with pytest.raises(ValueError, match="ignore"):
        Card.model_validate({"name": "x", "layout": "folder", "root": "x", "ignore": [""]})
