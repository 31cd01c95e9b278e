from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from rsam_app.data import load_dataset
from rsam_app.data.images.masks import read_mask
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

LABELS = [102, 1, 77, 1, 77]
SETS = {"trnid": [[1, 2, 3]], "valid": [[4]], "tstid": [[5]]}


@pytest.fixture
def release(tmp_path: Path, paint) -> Path:
    root = tmp_path / "flowers-102"
    for number in range(1, 6):
        paint(root / "jpg" / f"image_{number:05d}.jpg")
    savemat(root / "imagelabels.mat", {"labels": np.array([LABELS], dtype=np.uint8)})
    savemat(root / "setid.mat", SETS)
    return root


def test_a_release_becomes_a_dataset_with_the_official_three_splits(release, card_for) -> None:
    dataset = load_dataset(card_for("oxford_flowers_102", release))
    assert dataset.classes == ("pink primrose", "passion flower", "blackberry lily")
    assert [(r.id, r.label, r.split) for r in dataset.records] == [
        ("jpg/image_00001.jpg", "blackberry lily", "train"),
        ("jpg/image_00002.jpg", "pink primrose", "train"),
        ("jpg/image_00003.jpg", "passion flower", "train"),
        ("jpg/image_00004.jpg", "pink primrose", "val"),
        ("jpg/image_00005.jpg", "passion flower", "test"),
    ]


def test_all_102_classes_have_a_name_of_their_own(release, card_for) -> None:
    assert len(set(read_listing(card_for("oxford_flowers_102", release)).classes)) == 102


def test_masks_are_what_was_not_painted_blue(release, card_for, tmp_path) -> None:
    (release / "segmim").mkdir()
    for number in range(1, 4):
        pixels = np.empty((30, 40, 3), dtype=np.uint8)
        pixels[:] = (0, 0, 254)
        pixels[8:24, 8:32] = (200, 60, 120)
        Image.fromarray(pixels).save(release / "segmim" / f"segmim_{number:05d}.jpg", quality=90)
    (release / "segmim" / "segmim_00003.jpg").write_bytes(b"no picture")
    card = card_for("oxford_flowers_102", release, options={"masks": "segmim"})
    dataset = load_dataset(card)
    truth = np.zeros((30, 40), dtype=bool)
    truth[8:24, 8:32] = True
    masks = [read_mask(r) for r in dataset.records if r.mask]
    assert len(masks) == 2
    assert all((mask != truth).mean() < 0.02 for mask in masks)
    assert [s.path.name for s in dataset.skipped_masks] == ["segmim_00003.jpg"]
    assert load_dataset(card) == dataset
    assert len(list((tmp_path / "cache" / "rsam" / "masks").rglob("*.png"))) == 1  # equal bytes share a file


def test_masks_that_are_not_there_are_asked_for(release, card_for) -> None:
    with pytest.raises(UserError, match="102segmentations"):
        read_listing(card_for("oxford_flowers_102", release, options={"masks": "segmim"}))


@pytest.mark.parametrize(
    ("labels", "sets", "expected"),
    [
        ([[1, 2]], SETS, r"setid\.mat: image 3 has no label"),
        ([[103, 1, 1, 1, 1]], SETS, r"imagelabels\.mat: class 103"),
        ([LABELS], {"trnid": [[1]]}, r"setid\.mat: lacks valid, tstid \(it has trnid\)"),
        ([LABELS], {**SETS, "valid": [[1]]}, "image_00001.jpg twice"),
        ([["a"]], SETS, "labels is not a list of whole numbers"),
    ],
)
def test_damage_is_named(release, card_for, labels, sets, expected) -> None:
    savemat(release / "imagelabels.mat", {"labels": labels})
    savemat(release / "setid.mat", sets)
    with pytest.raises(UserError, match=expected):
        read_listing(card_for("oxford_flowers_102", release))
