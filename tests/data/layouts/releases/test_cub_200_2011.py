from __future__ import annotations

from pathlib import Path

import pytest

from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

FILES = {
    "images.txt": "1 001.Auk/a one.jpg\n2 001.Auk/b.jpg\n3 002.Tern/c.jpg\n",
    "classes.txt": "1 001.Auk\n2 002.Tern\n3 003.Wren\n",
    "image_class_labels.txt": "1 1\n2 1\n3 2\n",
    "train_test_split.txt": "1 1\n2 0\n3 1\n",
    "bounding_boxes.txt": "1 -1.5 0.0 12.5 30\n3 4 5 6 7\n",
}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_reads_what_the_lists_say(release, card_for) -> None:
    listing = read_listing(card_for("cub_200_2011", release))
    assert [(r.id, r.label, r.split) for r in listing.records] == [
        ("images/001.Auk/a one.jpg", "001.Auk", "train"),
        ("images/001.Auk/b.jpg", "001.Auk", "test"),
        ("images/002.Tern/c.jpg", "002.Tern", "train"),
    ]
    assert [r.boxes for r in listing.records] == [((-1.5, 0.0, 12.5, 30.0),), (), ((4.0, 5.0, 6.0, 7.0),)]
    assert listing.records[0].path == release / "images" / "001.Auk" / "a one.jpg"


def test_classes_without_image_are_dropped_and_named(release, card_for) -> None:
    listing = read_listing(card_for("cub_200_2011", release))
    assert listing.classes == ("001.Auk", "002.Tern")
    assert "003.Wren" in listing.notes[0]


def test_boxes_are_optional(release, card_for) -> None:
    (release / "bounding_boxes.txt").unlink()
    assert all(r.boxes == () for r in read_listing(card_for("cub_200_2011", release)).records)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("images.txt", "1 001.Auk/a.jpg\n1 001.Auk/b.jpg\n", ["images.txt, line 2", "'1'", "line 1"]),
        ("images.txt", "1 001.Auk/a.jpg\n2 001.Auk/a.jpg\n", ["images.txt, line 2", "001.Auk/a.jpg", "line 1"]),
        ("images.txt", "4 001.Auk/z.jpg\n", ["image_class_labels.txt", "'4'", "001.Auk/z.jpg"]),
        ("images.txt", "1\n", ["images.txt, line 1", "expected 2"]),
        ("image_class_labels.txt", "1 9\n2 1\n3 1\n", ["classes.txt", "'9'"]),
        ("train_test_split.txt", "1 yes\n2 0\n3 1\n", ["train_test_split.txt, line 1", "yes"]),
        ("bounding_boxes.txt", "1 0 0 0 5\n", ["bounding_boxes.txt, line 1", "0.0, 0.0, 0.0, 5.0 has no area"]),
        ("bounding_boxes.txt", "1 0 0 nan 5\n", ["bounding_boxes.txt, line 1"]),
        ("bounding_boxes.txt", "1 0 0 big 5\n", ["bounding_boxes.txt, line 1", "'big'"]),
        ("bounding_boxes.txt", "1 0 0 inf 5\n", ["bounding_boxes.txt, line 1"]),
    ],
)
def test_a_damaged_list_is_named_with_its_line(release, card_for, name, text, expected) -> None:
    (release / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_listing(card_for("cub_200_2011", release))
    assert all(part in str(caught.value) for part in expected)


def test_a_missing_list_is_named(release, card_for) -> None:
    (release / "train_test_split.txt").unlink()
    with pytest.raises(UserError, match=r"train_test_split\.txt: missing"):
        read_listing(card_for("cub_200_2011", release))


def test_a_list_that_is_not_text_is_named(release, card_for) -> None:
    (release / "images.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"images\.txt: cannot be read"):
        read_listing(card_for("cub_200_2011", release))


def test_an_option_it_does_not_know_is_named(release, card_for) -> None:
    with pytest.raises(UserError, match=r"options: level: unknown option\. The layout cub_200_2011 has none"):
        read_listing(card_for("cub_200_2011", release, options={"level": "species"}))
