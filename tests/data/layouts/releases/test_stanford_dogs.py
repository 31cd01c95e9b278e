from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data.layouts.official import cells, voc
from scipy.io import savemat

from rsam_app.data import load_dataset
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

SPLITS = {"train": "train", "test": "test"}
TRAIN = [
    "n02085620-Chihuahua/n02085620_7.jpg",
    "n02099267-flat-coated_retriever/n02099267_1.jpg",
    "n02085620-Chihuahua/n02085620_8.jpg",
]
TEST = ["n02099267-flat-coated_retriever/n02099267_2.jpg"]


def write_list(path: Path, files: list[str], labels: list[int]) -> None:
    annotations = cells([file.removesuffix(".jpg") for file in files])
    column = np.array(labels, dtype=np.float64)[:, None]
    savemat(path, {"file_list": cells(files), "annotation_list": annotations, "labels": column})


@pytest.fixture
def release(tmp_path: Path, paint) -> Path:
    root = tmp_path / "stanford_dogs"
    for file in TRAIN + TEST:
        paint(root / "Images" / file)
        annotation = root / "Annotation" / file.removesuffix(".jpg")
        annotation.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_text(voc((1, 1, 40, 30), (2, 3, 11, 12)))
    write_list(root / "train_list.mat", TRAIN, [1, 2, 1])
    write_list(root / "test_list.mat", TEST, [2])
    return root


def test_a_release_becomes_a_dataset(release, card_for) -> None:
    dataset = load_dataset(card_for("stanford_dogs", release, splits=SPLITS))
    assert dataset.classes == ("Chihuahua", "flat-coated_retriever")
    records = {r.id: r for r in dataset.records}
    assert len(records) == 4 and not dataset.skipped
    # Every dog of an image is a box; VOC counts from 1 and includes the last pixel.
    assert records[f"Images/{TRAIN[0]}"].boxes == ((0, 0, 40, 30), (1, 2, 10, 10))
    assert (records[f"Images/{TEST[0]}"].split, records[f"Images/{TEST[0]}"].label) == ("test", dataset.classes[1])


def test_an_image_without_annotation_has_no_box(release, card_for) -> None:
    (release / "Annotation" / TRAIN[0].removesuffix(".jpg")).unlink()
    first, second, *_ = read_listing(card_for("stanford_dogs", release, splits=SPLITS)).records
    assert (first.boxes, len(second.boxes)) == ((), 2)


@pytest.mark.parametrize(
    ("files", "labels", "expected"),
    [
        (TRAIN, [1, 2], "lists 3 files and 2 labels"),
        (TRAIN, [1, 1, 1], "class 1 is 'flat-coated_retriever' and 'Chihuahua'"),
        (["dog.jpg", "n1-a/b.jpg"], [1, 2], "'dog.jpg' is not SYNSET-BREED/IMAGE"),
        (TRAIN + TEST, [1, 2, 1, 2], "twice"),
    ],
)
def test_lists_that_disagree_are_named(release, card_for, files, labels, expected) -> None:
    write_list(release / "train_list.mat", files, labels)
    with pytest.raises(UserError, match=expected):
        read_listing(card_for("stanford_dogs", release, splits=SPLITS))


def test_labels_that_are_no_whole_numbers_are_named(release, card_for) -> None:
    savemat(release / "test_list.mat", {"file_list": cells(TEST), "labels": np.array([[1.5]])})
    with pytest.raises(UserError, match=r"test_list\.mat: labels is not a list of whole numbers"):
        read_listing(card_for("stanford_dogs", release, splits=SPLITS))


def test_a_missing_list_is_named(release, card_for) -> None:
    (release / "test_list.mat").unlink()
    with pytest.raises(UserError, match=r"test_list\.mat: missing; the layout stanford_dogs needs it"):
        read_listing(card_for("stanford_dogs", release, splits=SPLITS))
