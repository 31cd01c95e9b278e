"""The layout of photographs without labels, and when `rsam label` takes a folder for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsam_app.data import UNLABELLED, list_images, load_dataset
from rsam_app.data.layouts.recognise import recognise_unlabelled
from rsam_app.system.errors import UserError


def images(folder: Path, *names: str) -> None:
    """Create files that are listed, not opened."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def ids_in(folder: Path, *, ignore_folders: bool = False) -> list[str]:
    """The ids of the photographs, none of which has a label."""
    card, _ = recognise_unlabelled(folder, "mine", ignore_folders)
    records = list_images(card).records
    assert card.layout == "photographs" and {(r.label, r.split) for r in records} == {("", UNLABELLED)}
    assert all(r.path.exists() for r in records)
    return [r.id for r in records]


def test_images_at_any_depth_are_listed_once_by_their_relative_path(tmp_path):
    names = ["2023/11/1.jpg", "2024/05/1.jpg", "2024/06/trip/1.JPG", "loose.png"]
    images(tmp_path, *names, ".trash/1.jpg", "2024/.hidden.jpg", "2024/@eaDir/1.jpg", "2024/05/notes.txt")
    (tmp_path / "2024" / "link.jpg").symlink_to(tmp_path / "loose.png")
    assert ids_in(tmp_path) == names
    _, listing = recognise_unlabelled(tmp_path, "mine")
    notes = "\n".join(listing.notes)
    assert "1 files without an image suffix (.txt) ignored" in notes and "@eaDir" in notes and "link.jpg" in notes


@pytest.mark.parametrize(
    "folders", [["2024-05-17", "2024-05-18"], ["20240517", "2023"], ["DCIM"], ["DCIM/100"], ["2024/wren", "2024/auk"]]
)
def test_folders_by_date_and_a_single_folder_are_not_classes(tmp_path, folders):
    images(tmp_path, *(f"{folder}/1.jpg" for folder in folders))
    assert len(ids_in(tmp_path)) == len(folders)


def test_a_flat_folder_stays_without_classes_if_folders_are_added(tmp_path):
    images(tmp_path, "1.jpg")
    card, _ = recognise_unlabelled(tmp_path, "mine")
    images(tmp_path, "new/1.jpg", "later/1.jpg")
    assert [r.id for r in list_images(card).records] == ["1.jpg", "later/1.jpg", "new/1.jpg"]


@pytest.mark.parametrize("folders", [["wren", "auk"], ["2024", "wren"], ["001", "002"], ["photos/wren", "photos/auk"]])
def test_other_folders_may_be_classes_unless_they_are_to_be_ignored(tmp_path, folders):
    images(tmp_path, *(f"{folder}/1.jpg" for folder in folders))
    if len(list(tmp_path.iterdir())) > 1:
        assert [r.label for r in recognise_unlabelled(tmp_path, "mine")[1].records] == sorted(folders)
    else:
        with pytest.raises(UserError, match="all images have the class 'photos'"):
            recognise_unlabelled(tmp_path, "mine")
    assert ids_in(tmp_path, ignore_folders=True) == [f"{folder}/1.jpg" for folder in sorted(folders)]


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "2024").mkdir()
    with pytest.raises(UserError, match="has no images that can be read, at any depth"):
        recognise_unlabelled(tmp_path, "mine")


def test_photographs_are_trained_on_once_they_have_labels(tmp_path, paint, card_for):
    for name in ("2023/1.jpg", "2024/1.jpg", "2024/2.jpg"):
        paint(tmp_path / name)
    given = {"2023/1.jpg": "wren", "2024/1.jpg": "auk"}
    dataset = load_dataset(card_for("photographs", tmp_path), first_labels=given)
    assert {r.id: r.label for r in dataset.split("train")} == given and len(dataset.split(UNLABELLED)) == 1
