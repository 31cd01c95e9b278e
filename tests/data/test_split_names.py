"""Splits are recognised by their common names, in any case, and never guessed."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsam_app.data import load_dataset
from rsam_app.data.layouts import read_listing
from rsam_app.data.split_names import common_split, recognise_splits
from rsam_app.system.errors import UserError

SPLITS = {"train": "train", "val": "val", "test": "test"}


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (("train", "Train", "TRAIN", "training", "Trn"), "train"),
        (("val", "Valid", "VALIDATION", "dev"), "val"),
        (("test", "Testing", "tst", "HoldOut"), "test"),
        (("trainval", "wren", "train2018", "tests", ""), None),
    ],
)
def test_common_forms_in_any_case(names, split) -> None:
    assert {common_split(name) for name in names} == {split}


def test_present_names_are_kept_and_absent_ones_recognised() -> None:
    assert recognise_splits("c", SPLITS, ["train", "Train", "holdout"])[0] == SPLITS | {"test": "holdout"}
    assert recognise_splits("c", SPLITS, ["train"]) == (SPLITS, [])
    odd = {"train": "part 1", "test": "test"}
    assert recognise_splits("c", odd, ["Train", "Test"])[0] == odd | {"test": "Test"}


def test_two_forms_of_one_split_are_refused() -> None:
    with pytest.raises(UserError, match=r"'val' \(val\) is not in the data, which has dev and valid.*\n.*`val: dev`"):
        recognise_splits("c", SPLITS, ["train", "dev", "valid"])


@pytest.mark.parametrize("pair", [("Train", "Test"), ("training", "testing"), ("TRAIN", "TEST"), ("trn", "holdout")])
def test_split_folders_do_not_become_classes(tmp_path, paint, card_for, pair) -> None:
    for split, images in zip(pair, (10, 3), strict=True):
        for n in range(images):
            paint(tmp_path / "d" / split / "auk" / f"{n}.png")
            paint(tmp_path / "d" / split / "wren" / f"{n}.png")
    dataset = load_dataset(card_for("folder", tmp_path / "d"))
    assert dataset.classes == ("auk", "wren")
    train, val, test = (len(dataset.split(s)) for s in ("train", "val", "test"))
    assert (train + val, test) == (20, 6) and train > val > 0
    assert {r.id.split("/")[0] for r in dataset.split("test")} == {pair[1]}
    assert f"the split {pair[0]!r} of the release is used as train" in dataset.notes


def test_a_split_column_of_a_manifest_is_recognised_with_its_unlabelled_images(tmp_path, paint, card_for) -> None:
    rows = ["path,label,split"]
    for n in range(8):
        paint(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,{('auk', 'wren')[n % 2] if n else ''},{'Validation' if n > 5 else 'Train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    dataset = load_dataset(card_for("manifest", tmp_path / "manifest.csv"))
    assert [len(dataset.split(s)) for s in ("train", "val", "test", "unlabelled")] == [5, 2, 0, 1]


def test_shards_of_hugging_face_need_no_word_in_the_card(tmp_path, paint, card_for) -> None:
    for split in ("train", "validation", "test"):
        images = [paint(tmp_path / f"{split}{n}.png").read_bytes() for n in range(4)]
        columns = {"image": [{"bytes": i, "path": None} for i in images], "label": ["auk", "wren"] * 2}
        (tmp_path / "hf").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), tmp_path / "hf" / f"{split}.parquet")
    dataset = load_dataset(card_for("huggingface", tmp_path / "hf", options={"label": "label"}))
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [4, 4, 4]


def test_a_class_with_the_name_of_a_split_is_refused(class_folders, paint, card_for) -> None:
    paint(class_folders / "Test" / "a.png")
    with pytest.raises(UserError, match=r"class folder 'Test' has the name of a split\.\nMove .* rename it"):
        read_listing(card_for("folder", class_folders))


def test_a_class_named_train_inside_splits_is_a_class(tmp_path, paint, card_for) -> None:
    for split in ("train", "test"):
        for name in ("bus", "train"):
            paint(tmp_path / "d" / split / name / "a.png")
    assert read_listing(card_for("folder", tmp_path / "d")).classes == ("bus", "train")


@pytest.mark.parametrize(("outer", "inner"), [("", "train"), ("", "Validation"), ("train/", "test"), ("", "part1")])
def test_splits_inside_a_class_are_refused(tmp_path, paint, card_for, outer, inner) -> None:
    for name in ("auk", "wren"):
        paint(tmp_path / "d" / outer / name / inner / "a.png")
    card = card_for("folder", tmp_path / "d", splits={"train": "train", "test": "part1"})
    with pytest.raises(UserError, match=rf"auk' has the folder '{inner}', which looks like a split") as caught:
        read_listing(card)
    assert f"/{inner}/auk/" in str(caught.value)
