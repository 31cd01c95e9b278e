from __future__ import annotations

import json
from pathlib import Path

import pytest
from data.layouts.official import write_lists

from rsam_app.data import load_dataset
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

SPLITS = {"train": "train", "test": "test"}
TRAIN = ["apple_pie/1005649", "apple_pie/1014775", "waffles/971843", "waffles/971844"]
TEST = ["apple_pie/1011328", "waffles/1061"]


@pytest.fixture
def release(tmp_path: Path, paint) -> Path:
    root = tmp_path / "food-101"
    write_lists(
        root / "meta",
        {
            "classes.txt": "apple_pie\nwaffles\n",
            "labels.txt": "Apple pie\nWaffles\n",
            "train.txt": "\n".join(TRAIN) + "\n",
            "test.txt": "\n".join(TEST) + "\n",
        },
    )
    for name, listed in (("train", TRAIN), ("test", TEST)):
        by_class: dict[str, list[str]] = {}
        for image in listed:
            by_class.setdefault(image.partition("/")[0], []).append(image)
        (root / "meta" / f"{name}.json").write_text(json.dumps(by_class))
    for image in TRAIN + TEST:
        paint(root / "images" / f"{image}.jpg")
    return root


def test_a_release_becomes_a_dataset(release, card_for) -> None:
    dataset = load_dataset(card_for("food_101", release, splits=SPLITS))
    assert dataset.classes == ("apple_pie", "waffles")
    assert [r.id for r in dataset.split("test")] == ["images/apple_pie/1011328.jpg", "images/waffles/1061.jpg"]
    assert len(dataset.records) == 6 and not dataset.skipped


def test_the_json_lists_say_the_same(release, card_for) -> None:
    card = card_for("food_101", release, splits=SPLITS)
    by_text = read_listing(card)
    for name in ("train.txt", "test.txt"):
        (release / "meta" / name).unlink()
    assert read_listing(card) == by_text
    (release / "meta" / "test.json").write_text('["apple_pie/1"]')
    with pytest.raises(UserError, match=r"test\.json: is not a JSON object of lists"):
        read_listing(card)
    (release / "meta" / "test.json").unlink()
    with pytest.raises(UserError, match=r"test\.txt: missing"):
        read_listing(card)


def test_an_unknown_class_is_named(release, card_for) -> None:
    (release / "meta" / "test.txt").write_text("sushi/1\n")
    with pytest.raises(UserError, match=r"test\.txt, line 1: 'sushi' is not in classes\.txt"):
        read_listing(card_for("food_101", release, splits=SPLITS))


def test_images_that_are_not_there_are_counted(release, card_for) -> None:
    (release / "images" / "waffles" / "1061.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 6 images cannot be used, e\.g\. .*1061\.jpg: missing"):
        load_dataset(card_for("food_101", release, splits=SPLITS))
