from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data.layouts.official import write_lists
from PIL import Image

from rsam_app.data import load_dataset
from rsam_app.data.images.decoding import RESAMPLING_REACH, read_image
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

LISTS = {
    "variants.txt": "707-320\nF-16A/B\nF/A-18\n",
    "families.txt": "Boeing 707\nF-16\n",
    "manufacturers.txt": "Boeing\nLockheed Corporation\n",
    "images_variant_train.txt": "1025794 707-320\n1340192 F-16A/B\n0056978 F/A-18\n",
    "images_variant_val.txt": "0698580 707-320\n",
    "images_variant_test.txt": "0450014 F/A-18\n",
    "images_family_train.txt": "1025794 Boeing 707\n1340192 F-16\n0056978 F-16\n",
    "images_family_val.txt": "0698580 Boeing 707\n",
    "images_family_test.txt": "0450014 F-16\n",
    "images_box.txt": "1025794 1 1 64 28\n1340192 3 4 3 4\n0056978 2 2 9 9\n0698580 1 1 2 2\n0450014 1 1 2 2\n",
}


@pytest.fixture
def release(tmp_path: Path, paint) -> Path:
    root = tmp_path / "fgvc-aircraft-2013b"
    write_lists(root / "data", LISTS)
    for name in ("1025794", "1340192", "0056978", "0698580", "0450014"):
        paint(root / "data" / "images" / f"{name}.jpg", width=64, height=48)
    return root


def test_a_release_becomes_a_dataset_with_the_official_three_splits(release, card_for) -> None:
    dataset = load_dataset(card_for("fgvc_aircraft", release))
    assert dataset.classes == ("707-320", "F-16A/B", "F/A-18")
    assert {s: len(dataset.split(s)) for s in ("train", "val", "test")} == {"train": 3, "val": 1, "test": 1}
    records = {r.path.stem: r for r in dataset.records}
    # 1-based, last pixel included: the width of a 64 px image, and one pixel.
    assert records["1025794"].boxes == ((0, 0, 64, 28),)
    assert records["1340192"].boxes == ((2, 3, 1, 1),)


def test_a_coarser_level(release, card_for) -> None:
    listing = read_listing(card_for("fgvc_aircraft", release, options={"level": "family"}))
    assert listing.classes == ("Boeing 707", "F-16")
    assert [r.label for r in listing.records] == ["Boeing 707", "F-16", "F-16", "Boeing 707", "F-16"]


@pytest.mark.parametrize(("options", "expected"), [({"levle": "family"}, "'level'"), ({"level": "famly"}, "'family'")])
def test_a_misspelt_option_is_named(release, card_for, options, expected) -> None:
    with pytest.raises(UserError, match=expected):
        read_listing(card_for("fgvc_aircraft", release, options=options))


def test_the_network_does_not_see_the_banner_and_the_file_keeps_it(release, card_for) -> None:
    record = load_dataset(card_for("fgvc_aircraft", release)).records[0]
    before = record.path.read_bytes()
    seen, size = read_image(record.path, banner=record.banner)
    assert size == (64, 48) and seen.shape == (48, 64, 3)
    assert (seen[28:] == seen[28, 0]).all()
    assert np.array_equal(seen[:28], np.asarray(Image.open(record.path))[:28])
    assert record.path.read_bytes() == before


def test_the_banner_is_painted_over_in_an_image_decoded_small(tmp_path, paint) -> None:
    path = paint(tmp_path / "a.jpg", width=640, height=480)
    seen, size = read_image(path, side=64, banner=20)
    assert size == (640, 480) and seen.shape[0] < 480
    first = (480 - 20) * seen.shape[0] // 480 - RESAMPLING_REACH  # these see the banner's border
    assert (seen[first:] == seen[-1, 0]).all() and not (seen[first - 1] == seen[-1, 0]).all()


def test_a_banner_higher_than_the_image_covers_it(tmp_path, paint) -> None:
    seen, _ = read_image(paint(tmp_path / "a.jpg", height=15), banner=20)
    assert (seen == seen[0, 0]).all()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("images_variant_val.txt", "0698580 707\n", ["images_variant_val.txt, line 1", "'707'", "variants.txt"]),
        ("images_variant_val.txt", "1025794 707-320\n", ["1025794", "twice"]),
        ("images_variant_val.txt", "0698580\n", ["images_variant_val.txt, line 1", "expected 2"]),
        ("images_box.txt", "1025794 5 1 4 28\n", ["images_box.txt, line 1", "no area"]),
        ("images_box.txt", "1025794 a 1 4 28\n", ["images_box.txt, line 1", "'a'"]),
    ],
)
def test_a_damaged_list_is_named_with_its_line(release, card_for, name, text, expected) -> None:
    (release / "data" / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_listing(card_for("fgvc_aircraft", release))
    assert all(part in str(caught.value) for part in expected)
