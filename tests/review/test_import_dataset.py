"""Import of FiftyOne datasets, through the real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from command import rsam
from PIL import Image

from rsam_app.config import load_card
from rsam_app.data import load_dataset
from rsam_app.review.import_dataset import import_dataset
from rsam_app.system.errors import UserError

Fill = Callable[..., str]


@pytest.fixture
def fill(fiftyone_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """`fill(n, **fields)`: a dataset of `n` images 40 × 30, each field a list or `f(number)`; its name."""
    fo = fiftyone_module
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = f"my birds {tmp_path.name}"

    def make(n: int = 8, tags: Callable[[int], list[str]] = lambda _: [], **fields: Callable[[int], Any]) -> str:
        (tmp_path / "pictures").mkdir(exist_ok=True)
        samples = []
        for i in range(n):
            path = tmp_path / "pictures" / f"ä, {i}.jpg"
            Image.new("RGB", (40, 30), (i, 2 * i, 90)).save(path)
            values = {key: value(i) for key, value in fields.items()}
            samples.append(fo.Sample(filepath=str(path), tags=tags(i), **values))
        fo.Dataset(name).add_samples(samples, progress=False)
        return name

    yield make
    if fo.dataset_exists(name):
        fo.delete_dataset(name)


def test_labels_boxes_and_tagged_splits_become_a_card(fill, fiftyone_module, tmp_path) -> None:
    fo = fiftyone_module

    def drawn(i: int) -> Any:
        boxes = [[0.25, 0.5, 0.5, 0.5], [0, 0, 0.1, 0.1]][: i % 3]
        return fo.Detections(detections=[fo.Detection(label="bird", bounding_box=box) for box in boxes])

    name = fill(
        10,
        tags=lambda i: ["test", "sharp"] if i >= 6 else ["train"],
        ground_truth=lambda i: fo.Classification(label="auk" if i % 2 else "wren") if i not in (4, 9) else None,
        guess=lambda i: fo.Classification(label="x"),
        objects=drawn,
    )
    report = json.loads(rsam("import-fiftyone", name, tmp_path / "out", "--boxes", "objects", "--json").stdout)
    assert (report["images"], report["classes"], report["splits"]) == (9, 2, {"test": 3, "train": 5})
    assert report["notes"] == [
        "1 samples have no label: `rsam select --split unlabelled` chooses among them",
        "1 evaluation samples have no label and are left out",
    ]
    dataset = load_dataset(load_card(report["card"]))
    assert dataset.name != name  # `rsam review` will make a dataset of the card's name
    numbers = {s: len(dataset.split(s)) for s in ("train", "val", "test")}
    # A hash of the path decides which training images are for validation, and the path is another one in each test run.
    assert numbers["test"] == 3 and numbers["train"] + numbers["val"] == 5 and numbers["val"] >= 1
    assert [r.path.name for r in dataset.split("unlabelled")] == ["ä, 4.jpg"]
    boxes = {r.path.name: r.boxes for r in dataset.records}
    assert boxes["ä, 0.jpg"] == ()
    assert boxes["ä, 1.jpg"] == ((10, 15, 20, 15),)
    assert boxes["ä, 2.jpg"] == ((10, 15, 20, 15), (0, 0, 4, 3))


def test_a_split_field_and_text_labels(fill, tmp_path) -> None:
    name = fill(8, kind=lambda i: f"kind {i % 2}", part=lambda i: ["training", "training", "validation", ""][i // 2])
    done = import_dataset(name, tmp_path / "out", label="kind", split="part")
    assert done.splits == {"training": 4, "validation": 2}
    assert "2 samples have no value in 'part'" in done.notes[0]
    dataset = load_dataset(load_card(done.card))
    assert {s: len(dataset.split(s)) for s in ("train", "val")} == {"train": 4, "val": 2}


def test_without_splits_some_are_held_out(fill, fiftyone_module, tmp_path) -> None:
    name = fill(20, only=lambda i: fiftyone_module.Classification(label=f"kind {i % 2}"))
    done = import_dataset(name, tmp_path / "out")
    dataset = load_dataset(load_card(done.card))
    train, val, test = (len(dataset.split(s)) for s in ("train", "val", "test"))
    assert train + val + test == 20 and min(train, val, test) > 0  # by a hash of ids with a random folder's name


def test_boxes_are_relative_to_the_image_as_displayed(fill, fiftyone_module, tmp_path) -> None:
    fo = fiftyone_module
    one = fo.Detection(label="bird", bounding_box=[0.5, 0, 0.5, 1])
    name = fill(4, ground_truth=lambda i: fo.Classification(label=f"{i % 2}"), object=lambda _: one.copy())
    turned = Image.new("RGB", (40, 30))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "pictures" / "ä, 0.jpg", exif=exif)
    (tmp_path / "pictures" / "ä, 3.jpg").write_bytes(b"broken")
    done = import_dataset(name, tmp_path / "out", boxes="object")
    assert "boxes of 1 images that cannot be read" in done.notes[0]
    text = (tmp_path / "out" / "manifest.csv").read_text()
    assert 'ä, 0.jpg",0,15.0,0.0,15.0,40.0' in text and 'ä, 1.jpg",1,20.0,0.0,20.0,30.0' in text


def test_unsuitable_datasets_and_fields_are_reported(fill, fiftyone_module, tmp_path) -> None:
    fo = fiftyone_module
    name = fill(
        4,
        tags=lambda i: ["test", "train"] if i == 3 else ["test"],
        one=lambda i: fo.Classification(label="a"),
        two=lambda i: fo.Classification(label="b"),
        part=lambda i: "holdout",
    )
    out = tmp_path / "out"
    for arguments, expected in (
        ({"name": name + "x"}, f"no dataset '{name}x'. Did you mean '{name}'"),
        ({}, "2 fields are Classifications"),
        ({"label": "onne"}, "--label onne: does not exist; needed: Classification or text. Did you mean 'one'"),
        ({"label": "one", "boxes": "two"}, "--boxes two: is a Classification; needed: Detections or Detection."),
        ({"label": "one"}, "has the tags of several splits, test, train"),
        ({"label": "one", "split": "part"}, r"no split is called train (it has: holdout)"),
    ):
        with pytest.raises(UserError) as caught:
            import_dataset(**{"name": name, "out": out, **arguments})
        assert expected in str(caught.value)
    assert not out.exists()


def test_splits_that_the_card_does_not_name_are_reported_and_doubles_refused(fill, fiftyone_module, tmp_path) -> None:
    fo = fiftyone_module
    names = ["train", "train", "holdout", "val"]
    name = fill(4, ground_truth=lambda i: fo.Classification(label="a"), part=lambda i: names[i])
    done = import_dataset(name, tmp_path / "out", split="part")
    assert "split 'holdout' (1 samples) is not train, val or test and is ignored" in done.notes
    fo.load_dataset(name).set_values("part", ["train", "train", "validation", "val"])
    with pytest.raises(UserError, match="'val' and 'validation' both mean val"):
        import_dataset(name, tmp_path / "again", split="part")


def test_samples_of_one_file_are_joined_or_refused(fill, fiftyone_module, tmp_path) -> None:
    fo = fiftyone_module
    name = fill(4, ground_truth=lambda i: fo.Classification(label=f"{i % 2}"))
    dataset = fo.load_dataset(name)
    first = dataset.first()
    dataset.add_sample(fo.Sample(filepath=first.filepath, ground_truth=fo.Classification(label="0")))
    done = import_dataset(name, tmp_path / "out")
    assert done.images == 4 and "1 samples of a file" in done.notes[0]
    dataset.add_sample(fo.Sample(filepath=first.filepath, ground_truth=fo.Classification(label="1")))
    with pytest.raises(UserError, match="two samples with different labels or splits, '0'"):
        import_dataset(name, tmp_path / "again")


def test_nothing_is_overwritten(fill, fiftyone_module, tmp_path) -> None:
    name = fill(4, ground_truth=lambda i: fiftyone_module.Classification(label=f"{i % 2}"))
    import_dataset(name, tmp_path / "out")
    with pytest.raises(UserError, match="exists and is not empty"):
        import_dataset(name, tmp_path / "out")
