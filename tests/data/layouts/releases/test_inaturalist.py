from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsam_app.data import load_dataset
from rsam_app.data.layouts import read_listing
from rsam_app.system.errors import UserError

SPLITS = {"train": "train_mini", "test": "val"}
CATEGORIES = [
    {"id": 0, "name": "Lumbricus terrestris", "common_name": "Common Earthworm", "genus": "Lumbricus", "family": "L"},
    {"id": 1, "name": "Parus major", "common_name": "Great Tit", "genus": "Parus", "family": "Paridae"},
    {"id": 2, "name": "Parus minor", "common_name": "Japanese Tit", "genus": "Parus", "family": "Paridae"},
]


def content(split: str, labels: list[int], start: int = 0, **more: Any) -> dict[str, Any]:
    ids = range(start, start + len(labels))
    return {
        "info": {"year": 2021},
        "images": [
            {"id": i, "file_name": f"{split}/{c:05d}/{i}.jpg", "width": 40, "height": 30}
            for i, c in zip(ids, labels, strict=True)
        ],
        "annotations": [{"id": i, "image_id": i, "category_id": c, **more} for i, c in zip(ids, labels, strict=True)],
        "categories": CATEGORIES,
    }


@pytest.fixture
def release(tmp_path: Path, paint) -> Path:
    root = tmp_path / "inaturalist"
    for split, labels, start in (("train_mini", [0, 0, 1, 1, 2, 2], 0), ("val", [2, 0], 100)):
        written = content(split, labels, start)
        for image in written["images"]:
            paint(root / image["file_name"])
        (root / f"{split}.json").write_text(json.dumps(written))
    return root


def test_a_release_becomes_a_dataset(release, card_for) -> None:
    dataset = load_dataset(card_for("inaturalist", release, splits=SPLITS))
    assert dataset.classes == ("Lumbricus terrestris", "Parus major", "Parus minor")
    assert [(r.id, r.label) for r in dataset.split("test")] == [
        ("val/00002/100.jpg", "Parus minor"),
        ("val/00000/101.jpg", "Lumbricus terrestris"),
    ]


def test_a_level_above_the_species(release, card_for) -> None:
    listing = read_listing(card_for("inaturalist", release, splits=SPLITS, options={"level": "genus"}))
    assert listing.classes == ("Lumbricus", "Parus")
    with pytest.raises(UserError, match=r"lacks 'kingdom'"):
        read_listing(card_for("inaturalist", release, splits=SPLITS, options={"level": "kingdom"}))


def test_boxes_are_edges_counted_from_0_as_in_coco(release, card_for) -> None:
    (release / "train_mini.json").rename(release / "elsewhere.json")
    (release / "annotations").mkdir()
    text = json.dumps(content("train_mini", [0, 1], bbox=[0, 2.5, 40, 27.5]))
    (release / "annotations" / "train_mini.json").write_text(text)
    records = read_listing(card_for("inaturalist", release, splits=SPLITS)).records
    assert records[0].boxes == ((0, 2.5, 40, 27.5),)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.pop("annotations"), "lacks annotations; test files have no labels"),
        (lambda c: c["annotations"][0].update(category_id=7), "an entry lacks 7"),
        (lambda c: c["annotations"][0].update(image_id=7), "an entry lacks 7"),
        (lambda c: c["annotations"].append({"image_id": 100, "category_id": 0}), "image 100 is 'Parus minor' and"),
        (lambda c: c["annotations"][0].update(bbox=[1, 1, 0, 5]), "has no area"),
        (lambda c: c["annotations"][0].update(bbox="wide"), "not in COCO format"),
        (lambda c: c.update(images={"a": 1}), "not in COCO format"),
        (lambda c: c["categories"][0].update(name="Eisenia fetida"), "category 0 is 'Eisenia fetida' here"),
    ],
)
def test_damage_is_named(release, card_for, change, expected) -> None:
    path = release / "val.json"
    written = json.loads(path.read_text())
    change(written)
    path.write_text(json.dumps(written))
    with pytest.raises(UserError, match=expected) as caught:
        read_listing(card_for("inaturalist", release, splits=SPLITS))
    assert "val.json" in str(caught.value)


def test_a_missing_or_cut_file_is_named(release, card_for) -> None:
    path = release / "val.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match=r"val\.json: is not valid JSON"):
        read_listing(card_for("inaturalist", release, splits=SPLITS))
    path.unlink()
    with pytest.raises(UserError, match=r"val\.json: missing; the layout inaturalist needs it"):
        read_listing(card_for("inaturalist", release, splits=SPLITS))
