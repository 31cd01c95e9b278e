from __future__ import annotations

import os
from pathlib import Path

import pytest

from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError


def test_class_folders_without_splits(class_folders, card_for) -> None:
    listing = read_listing(card_for("folder", class_folders))
    assert listing.classes == ("finch", "wren")
    assert len(listing.records) == 20
    assert {r.split for r in listing.records} == {""}
    assert listing.records[0].id == "finch/0.jpg"


def test_split_folders_as_the_card_names_them(tmp_path, paint, card_for) -> None:
    for split in ("train", "valid", "holdout"):
        paint(tmp_path / split / "wren" / "a.jpg")
        paint(tmp_path / split / "auk" / "a.jpg")
    listing = read_listing(card_for("folder", tmp_path, splits={"train": "train", "val": "valid", "test": "holdout"}))
    assert {r.id: r.split for r in listing.records}["valid/wren/a.jpg"] == "valid"
    assert listing.classes == ("auk", "wren")


def test_names_with_spaces_letters_of_any_script_and_any_case_of_suffix(tmp_path, paint, card_for) -> None:
    for path in ("Grünfink/ein Bild, groß.JPG", "王鶲/画像 1.PnG", "wren/nest/eggs/b.jpeg", "wren/#1 'x'.webp"):
        paint(tmp_path / path)
    listing = read_listing(card_for("folder", tmp_path))
    assert {(r.id, r.label) for r in listing.records} == {
        ("Grünfink/ein Bild, groß.JPG", "Grünfink"),
        ("王鶲/画像 1.PnG", "王鶲"),
        ("wren/nest/eggs/b.jpeg", "wren"),
        ("wren/#1 'x'.webp", "wren"),
    }


def test_what_is_ignored_is_counted_and_hidden_files_are_not_looked_at(class_folders, paint, card_for) -> None:
    (class_folders / "wren" / "notes.txt").write_text("x")
    (class_folders / "wren" / ".DS_Store").write_text("x")
    paint(class_folders / ".cache" / "a.jpg")
    paint(class_folders / "stray.jpg")
    listing = read_listing(card_for("folder", class_folders))
    assert len(listing.records) == 20
    assert sorted(note.partition(": ")[2] for note in listing.notes) == [
        "1 .DS_Store of the system ignored",
        "1 files without an image suffix (.txt) ignored",
        "1 images outside a class folder ignored",
    ]


def test_a_link_to_an_image_of_its_class_is_counted_once_and_a_link_in_a_circle_ends(class_folders, card_for) -> None:
    listed = read_listing(card_for("folder", class_folders))
    os.symlink(class_folders / "wren" / "1.jpg", class_folders / "wren" / "0again.jpg")
    os.symlink(class_folders / "wren", class_folders / "wren" / "loop")
    linked = read_listing(card_for("folder", class_folders))
    assert linked.records == listed.records
    assert linked.notes == ("1 links to images that are listed already are left out: wren/0again.jpg (is wren/1.jpg)",)


def test_a_link_to_the_root_puts_no_image_of_another_class_into_its_class(class_folders, card_for) -> None:
    listed = read_listing(card_for("folder", class_folders))
    os.symlink(class_folders, class_folders / "finch" / "all")
    linked = read_listing(card_for("folder", class_folders))
    assert linked.records == listed.records
    assert linked.notes == (
        "10 links to images that are listed already are left out: finch/all/wren/0.jpg (is wren/0.jpg),"
        " finch/all/wren/1.jpg (is wren/1.jpg), finch/all/wren/2.jpg (is wren/2.jpg) and 7 more",
    )


def test_a_link_to_a_class_folder_is_no_second_class(class_folders, card_for) -> None:
    listed = read_listing(card_for("folder", class_folders))
    os.symlink("wren", class_folders / "alias")
    linked = read_listing(card_for("folder", class_folders))
    assert linked.records == listed.records
    assert linked.classes == ("finch", "wren")
    assert "10 links to images that are listed already are left out: alias/0.jpg (is wren/0.jpg)" in linked.notes[0]
    assert linked.notes[1] == "class folders with nothing but such links are not classes: alias"


def test_links_into_a_store_are_images_but_for_files_with_two_labels(tmp_path, paint, card_for) -> None:
    for number in range(6):
        paint(tmp_path / "store" / f"{number:02x}" / "blob", format="PNG")
    root = tmp_path / "folders"
    for label, numbers in {"auk": (0, 1, 2), "wren": (2, 3, 4)}.items():
        (root / label).mkdir(parents=True)
        for number in numbers:
            (root / label / f"{number}.png").symlink_to(tmp_path / "store" / f"{number:02x}" / "blob")
    (root / "wren" / "again.png").symlink_to(tmp_path / "store" / "03" / "blob")
    listing = read_listing(card_for("folder", root))
    assert [r.id for r in listing.records] == ["auk/0.png", "auk/1.png", "wren/3.png", "wren/4.png"]
    file = tmp_path / "store" / "02" / "blob"
    assert listing.notes == (
        "1 links to images that are listed already are left out: wren/again.png (is wren/3.png)",
        f"2 links to one file from several classes are left out: auk/2.png (is {file}), wren/2.png (is {file})",
    )


def test_class_folders_and_a_root_that_are_links_are_read(tmp_path, class_folders, card_for) -> None:
    os.rename(class_folders / "wren", tmp_path / "elsewhere")
    (class_folders / "wren").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root").symlink_to(class_folders)
    listing = read_listing(card_for("folder", tmp_path / "root"))
    assert (len(listing.records), listing.classes, listing.notes) == (20, ("finch", "wren"), ())


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_a_held_out_image_that_is_a_link_to_a_training_image_is_held_out(tmp_path, paint, card_for, held_out) -> None:
    for label in ("auk", "wren"):
        for number in range(3):
            paint(tmp_path / "train" / label / f"{number}.jpg")
    (tmp_path / held_out / "auk").mkdir(parents=True)
    (tmp_path / held_out / "auk" / "x.jpg").symlink_to(tmp_path / "train" / "auk" / "1.jpg")
    listing = read_listing(card_for("folder", tmp_path))
    assert {r.id: r.split for r in listing.records if r.split != "train"} == {f"{held_out}/auk/x.jpg": held_out}
    assert "train/auk/1.jpg" not in {r.id for r in listing.records}
    assert f"train/auk/1.jpg (is {held_out}/auk/x.jpg)" in listing.notes[0]


def test_an_empty_class_is_an_error_with_its_name(class_folders, card_for) -> None:
    (class_folders / "robin").mkdir()
    (class_folders / "robin" / "readme.md").write_text("soon")
    with pytest.raises(UserError, match="'robin' has no image"):
        read_listing(card_for("folder", class_folders))


def test_a_class_that_one_split_lacks_is_no_empty_class(tmp_path, paint, card_for) -> None:
    paint(tmp_path / "train" / "wren" / "a.jpg")
    (tmp_path / "test" / "wren").mkdir(parents=True)
    assert len(read_listing(card_for("folder", tmp_path)).records) == 1


def test_a_file_name_that_is_no_text_is_named(class_folders, card_for) -> None:
    (Path(os.fsdecode(os.fsencode(class_folders) + b"/wren/\xff.jpg"))).write_bytes(b"x")
    with pytest.raises(UserError, match="is not UTF-8"):
        read_listing(card_for("folder", class_folders))


def test_a_folder_without_folders(tmp_path, paint, card_for) -> None:
    paint(tmp_path / "only" / "a.jpg")
    with pytest.raises(UserError, match="has no class folders"):
        read_listing(card_for("folder", tmp_path / "only"))


def test_a_root_that_is_a_file(tmp_path, paint, card_for) -> None:
    with pytest.raises(UserError, match="is a file"):
        read_listing(card_for("folder", paint(tmp_path / "a.jpg")))


def test_a_missing_root_says_how_to_set_the_data_folder(tmp_path, card_for, monkeypatch) -> None:
    monkeypatch.setenv("RSAM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError) as caught:
        read_listing(card_for("folder", Path("birds")))
    message = str(caught.value)
    assert str(tmp_path / "nowhere" / "birds") in message
    assert "export RSAM_DATA=" in message
    assert message.count("\n") == 1


def test_the_endings_of_ignored_files_are_named(tmp_path, paint, card_for) -> None:
    paint(tmp_path / "auk" / "a.jpg")
    for name in ("a.HEIC", "b.heic", "c.txt", "d"):
        (tmp_path / "auk" / name).write_bytes(b"x")
    notes = read_listing(card_for("folder", tmp_path)).notes
    assert {note.removeprefix(f"{tmp_path}: ") for note in notes} == {
        "1 files without an image suffix ignored",
        "1 files without an image suffix (.txt) ignored",
        "2 files without an image suffix (.heic: convert them to .jpg or .png) ignored",
    }
    (tmp_path / "auk" / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"'auk' has no image .*2 files without an image suffix \(\.heic: convert"):
        read_listing(card_for("folder", tmp_path))
