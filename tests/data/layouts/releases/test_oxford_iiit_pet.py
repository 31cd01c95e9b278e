from __future__ import annotations

from pathlib import Path

import pytest
from data.layouts.official import voc

from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

SPLITS = {"train": "trainval", "test": "test"}


@pytest.fixture
def release(tmp_path: Path, paint) -> Path:
    annotations = tmp_path / "annotations"
    (annotations / "xmls").mkdir(parents=True)
    (annotations / "trimaps").mkdir()
    (annotations / "trainval.txt").write_text("#Image CLASS-ID\nboxer_1 2 2 1\nMaine_Coon_7 1 1 1\nboxer_2 2 2 1\n")
    (annotations / "test.txt").write_text("Maine_Coon_8 1 1 1\n")
    (annotations / "xmls" / "boxer_1.xml").write_text(voc((1, 1, 40, 30)))
    (annotations / "xmls" / "boxer_2.xml").write_text(voc((3, 4, 5, 9), (10, 11, 10, 11)))
    paint(annotations / "trimaps" / "boxer_1.png", mode="L")
    paint(tmp_path / "images" / "boxer_99.jpg")
    return tmp_path


def test_reads_breeds_by_official_number_and_only_listed_images(release, card_for) -> None:
    listing = read_listing(card_for("oxford_iiit_pet", release, splits=SPLITS))
    assert listing.classes == ("Maine_Coon", "boxer")
    assert {r.id: (r.label, r.split) for r in listing.records} == {
        "images/boxer_1.jpg": ("boxer", "trainval"),
        "images/Maine_Coon_7.jpg": ("Maine_Coon", "trainval"),
        "images/boxer_2.jpg": ("boxer", "trainval"),
        "images/Maine_Coon_8.jpg": ("Maine_Coon", "test"),
    }


def test_heads_and_trimaps_where_there_are_some(release, card_for) -> None:
    records = {r.id: r for r in read_listing(card_for("oxford_iiit_pet", release, splits=SPLITS)).records}
    # 1-based, last pixel included: 1..40 is the whole width of a 40 px image, 10..10 one pixel.
    assert records["images/boxer_1.jpg"].boxes == ((0, 0, 40, 30),)
    assert records["images/boxer_2.jpg"].boxes == ((2, 3, 3, 6), (9, 10, 1, 1))
    assert records["images/Maine_Coon_7.jpg"].boxes == ()
    assert records["images/boxer_1.jpg"].mask == release / "annotations" / "trimaps" / "boxer_1.png"
    assert records["images/boxer_1.jpg"].mask_values == (1,)
    assert records["images/boxer_2.jpg"].mask is None


@pytest.mark.parametrize(
    ("trainval", "expected"),
    [
        ("boxer_1 2 2 1\nMaine_Coon_8 1 1 1\n", ["test.txt, line 1", "Maine_Coon_8", "trainval.txt, line 2"]),
        ("boxer_1 1 2 1\n", ["test.txt, line 1", "Maine_Coon", "boxer"]),
        ("boxer 1 2 1\n", ["trainval.txt, line 1", "BREED_NUMBER"]),
        ("boxer_1 one 2 1\n", ["trainval.txt, line 1", "'one'"]),
        ("boxer_1 1\n", ["trainval.txt, line 1", "expected 4"]),
    ],
)
def test_a_damaged_list_is_named_with_its_line(release, card_for, trainval, expected) -> None:
    (release / "annotations" / "trainval.txt").write_text(trainval)
    with pytest.raises(UserError) as caught:
        read_listing(card_for("oxford_iiit_pet", release, splits=SPLITS))
    assert all(part in str(caught.value) for part in expected)
