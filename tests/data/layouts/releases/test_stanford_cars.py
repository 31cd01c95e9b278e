from __future__ import annotations

from pathlib import Path

import pytest
from data.layouts.official import cells, structures
from scipy.io import savemat

from rsam_app.data import load_dataset
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

SPLITS = {"train": "train", "test": "test"}
CLASSES = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]


def car(name: str, label: int, box: tuple[int, int, int, int]) -> dict[str, object]:
    corners = dict(zip(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), box, strict=True))
    return {**corners, "class": label, "fname": name}


@pytest.fixture
def release(tmp_path: Path, paint) -> Path:
    root = tmp_path / "stanford_cars"
    devkit = root / "devkit"
    devkit.mkdir(parents=True)
    savemat(devkit / "cars_meta.mat", {"class_names": cells(CLASSES).T})
    training = [car(f"{n:05d}.jpg", 1 + n % 2, (1, 1, 40, 30)) for n in range(1, 5)]
    savemat(devkit / "cars_train_annos.mat", {"annotations": structures(training)})
    testing = [car("00001.jpg", 2, (11, 6, 20, 30))]
    savemat(root / "cars_test_annos_withlabels.mat", {"annotations": structures(testing)})
    for n in range(1, 5):
        paint(root / "cars_train" / f"{n:05d}.jpg")
    paint(root / "cars_test" / "00001.jpg")
    return root


def test_a_release_becomes_a_dataset(release, card_for) -> None:
    dataset = load_dataset(card_for("stanford_cars", release, splits=SPLITS))
    assert dataset.classes == tuple(CLASSES)
    records = {r.id: r for r in dataset.records}
    assert len(records) == 5 and not dataset.skipped
    # 1-based, last pixel included: the whole of a 40 x 30 image, and 10 x 25 pixels of one.
    assert records["cars_train/00003.jpg"].boxes == ((0, 0, 40, 30),)
    assert records["cars_train/00003.jpg"].label == CLASSES[1]
    assert (records["cars_test/00001.jpg"].boxes, records["cars_test/00001.jpg"].split) == (((10, 5, 10, 25),), "test")


def test_test_annotations_are_needed_only_where_the_card_uses_them(release, card_for) -> None:
    (release / "cars_test_annos_withlabels.mat").unlink()
    assert len(read_listing(card_for("stanford_cars", release, splits={"train": "train"})).records) == 4
    with pytest.raises(UserError, match=r"cars_test_annos_withlabels\.mat: missing"):
        read_listing(card_for("stanford_cars", release, splits=SPLITS))


def test_damage_is_named(release, card_for) -> None:
    card = card_for("stanford_cars", release, splits=SPLITS)
    path = release / "devkit" / "cars_train_annos.mat"
    for cars, expected in (
        ([car("a.jpg", 3, (1, 1, 2, 2))], "annotation 1: class 3 is not one of the 2"),
        ([car("a.jpg", 1, (1, 1, 2, 2)), car("b.jpg", 1, (5, 1, 2, 2))], r"annotation 2: .*box from 5\.0"),
        ([{"fname": "a.jpg", "bbox_x1": 1, "bbox_y1": 1, "bbox_x2": 2, "bbox_y2": 2}], "withlabels"),
        ([car("a.jpg", 1, (1, 1, 2, 2)), car("a.jpg", 1, (1, 1, 2, 2))], "cars_train/a.jpg twice"),
    ):
        savemat(path, {"annotations": structures(cars)})
        with pytest.raises(UserError, match=expected):
            read_listing(card)
    savemat(path, {"other": [1]})
    with pytest.raises(UserError, match=r"lacks annotations \(it has other\)"):
        read_listing(card)


@pytest.mark.parametrize("content", [b"", b"no matlab here", b"MATLAB 5.0 MAT-file" + bytes(200), bytes(1000)])
def test_a_file_that_is_no_matlab_file_is_named(release, card_for, content) -> None:
    (release / "devkit" / "cars_train_annos.mat").write_bytes(content)
    with pytest.raises(UserError, match=r"cars_train_annos\.mat: "):
        read_listing(card_for("stanford_cars", release, splits=SPLITS))


def test_a_cut_matlab_file_is_named(release, card_for) -> None:
    path = release / "devkit" / "cars_train_annos.mat"
    whole = path.read_bytes()
    for size in range(100, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cars_train_annos\.mat"):
            read_listing(card_for("stanford_cars", release, splits=SPLITS))
