from __future__ import annotations

from pathlib import Path

import pytest
from data.layouts.official import write_lists

from rsam_app.data import load_dataset
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

SPLITS = {"train": "train", "test": "test"}
IMAGES = {
    "0000139e-21dc-4d0c-bfe1-4cae3c85c829": ("0817", 817, 1),
    "0000d9fc-4e02-4c06-a0af-a55cfb16b12b": ("0828", 828, 1),
    "00019306-9d83-4334-b255-a447742edce3": ("0829", 829, 0),
    "0001afd4-99a1-4a67-b940-d419413e23b3": ("0829", 829, 1),
}


def path_of(key: str) -> str:
    return f"{IMAGES[key][0]}/{key.replace('-', '')}.jpg"


@pytest.fixture
def release(tmp_path: Path, paint) -> Path:
    root = tmp_path / "nabirds"
    write_lists(
        root,
        {
            "images.txt": "".join(f"{key} {path_of(key)}\n" for key in IMAGES),
            "image_class_labels.txt": "".join(f"{key} {label}\n" for key, (_, label, _) in IMAGES.items()),
            "train_test_split.txt": "".join(f"{key} {train}\n" for key, (*_, train) in IMAGES.items()),
            "bounding_boxes.txt": "".join(f"{key} 0 2 40 28\n" for key in IMAGES),
            "sizes.txt": "".join(f"{key} 40 30\n" for key in IMAGES),
            "classes.txt": "0 Birds\n100 Mallard\n817 Oak Titmouse\n828 Mallard (Male)\n829 Mallard (Female)\n",
            "hierarchy.txt": "100 0\n817 0\n828 100\n829 100\n",
        },
    )
    for key in IMAGES:
        paint(root / "images" / path_of(key))
    return root


def test_a_release_becomes_a_dataset(release, card_for) -> None:
    dataset = load_dataset(card_for("nabirds", release, splits=SPLITS))
    assert dataset.classes == ("Oak Titmouse", "Mallard (Male)", "Mallard (Female)")
    assert {r.boxes for r in dataset.records} == {((0, 2, 40, 28),)}
    assert [r.path.parent.name for r in dataset.split("test")] == ["0829"]
    assert not any("no image" in note for note in dataset.notes)  # inner nodes of the hierarchy are no classes


def test_plumages_merge_into_species(release, card_for) -> None:
    listing = read_listing(card_for("nabirds", release, splits=SPLITS, options={"level": "species"}))
    assert listing.classes == ("Mallard", "Oak Titmouse")
    assert [r.label for r in listing.records] == ["Oak Titmouse", "Mallard", "Mallard", "Mallard"]


def test_classes_of_one_name_are_not_merged_by_accident(release, card_for) -> None:
    (release / "classes.txt").write_text("0 Birds\n100 Mallard\n817 Duck\n828 Duck\n829 Teal\n")
    listing = read_listing(card_for("nabirds", release, splits=SPLITS))
    assert listing.classes == ("Duck (817)", "Duck (828)", "Teal")


def test_missing_lists_are_named_when_needed(release, card_for) -> None:
    (release / "hierarchy.txt").unlink()
    assert len(read_listing(card_for("nabirds", release, splits=SPLITS)).records) == 4
    with pytest.raises(UserError, match=r"hierarchy\.txt: missing"):
        read_listing(card_for("nabirds", release, splits=SPLITS, options={"level": "species"}))
    (release / "train_test_split.txt").unlink()
    with pytest.raises(UserError, match=r"train_test_split\.txt: missing; the layout nabirds needs it"):
        read_listing(card_for("nabirds", release, splits=SPLITS))
