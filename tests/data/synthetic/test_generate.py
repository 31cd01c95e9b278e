"""The generated dataset: deterministic, with correct ground truth and the stated faults."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from rsam_app.data.synthetic import Planted, generate, read_planted
from rsam_app.data.synthetic.generate import mask_path
from rsam_app.data.synthetic.planting import WRONG_SHARE, plan_images
from rsam_app.data.synthetic.species import ALIKE, SHORTCUT, SPECIES
from rsam_app.system.errors import UserError

SMALL = {"seed": 3, "images_per_species": 10, "species": 5}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    folder = tmp_path_factory.mktemp("käfer und mehr")
    return folder, generate(folder, **SMALL)


def _mask(folder: Path, record_id: str) -> np.ndarray:
    return cv2.imdecode(np.fromfile(folder / mask_path(record_id), np.uint8), cv2.IMREAD_UNCHANGED)


def test_the_same_arguments_give_the_same_bytes(generated: tuple[Path, Planted], tmp_path: Path) -> None:
    folder, planted = generated
    again = generate(tmp_path, **SMALL)
    assert again == planted
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert all((folder / n).read_bytes() == (tmp_path / n).read_bytes() for n in names)


def test_another_seed_gives_other_images(generated: tuple[Path, Planted], tmp_path: Path) -> None:
    folder, _ = generated
    generate(tmp_path, seed=4, images_per_species=10, species=4)
    assert (folder / "images/0000.jpg").read_bytes() != (tmp_path / "images/0000.jpg").read_bytes()


def test_images_and_masks_have_the_stated_sizes_and_values(generated: tuple[Path, Planted]) -> None:
    folder, planted = generated
    shapes = set()
    for record_id, truth in planted.images.items():
        image, mask = cv2.imread(str(folder / record_id)), _mask(folder, record_id)
        assert image.shape == (truth.height, truth.width, 3)
        assert mask.shape == (truth.height, truth.width)
        assert set(np.unique(mask)) == {0, 1}
        assert image.std() > 10  # a picture, not a blank
        shapes.add(truth.width > truth.height)
    assert shapes == {True, False}


def test_boxes_are_tight_around_the_masks(generated: tuple[Path, Planted]) -> None:
    folder, planted = generated
    for record_id, truth in planted.images.items():
        assert cv2.boundingRect(_mask(folder, record_id)) == tuple(map(int, truth.box))


def test_rectangles_hold_the_mask_and_touch_it_on_every_side(generated: tuple[Path, Planted]) -> None:
    folder, planted = generated
    for record_id, truth in planted.images.items():
        rows, columns = np.nonzero(_mask(folder, record_id))
        cx, cy, width, height, angle = truth.rectangle
        assert -np.pi / 2 <= angle < np.pi / 2
        x, y = columns + 0.5 - cx, rows + 0.5 - cy
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = (np.abs(along) <= width / 2) & (np.abs(across) <= height / 2)
        assert inside.mean() >= 0.95
        for values, length in ((along, width), (across, height)):
            assert values.min() == pytest.approx(-length / 2, abs=2)
            assert values.max() == pytest.approx(length / 2, abs=2)


def test_the_rectangle_runs_along_the_body(generated: tuple[Path, Planted]) -> None:
    folder, planted = generated
    for record_id, truth in planted.images.items():
        rows, columns = np.nonzero(_mask(folder, record_id))
        spread, directions = np.linalg.eigh(np.cov(columns, rows))
        main = np.arctan2(directions[1, 1], directions[0, 1])
        difference = (main - truth.rectangle[4] + np.pi / 2) % np.pi - np.pi / 2
        assert spread[1] > 1.5 * spread[0]
        assert abs(np.degrees(difference)) < 8


def test_flowers_are_pink_where_they_are_stated_and_only_there(generated: tuple[Path, Planted]) -> None:
    folder, planted = generated
    assert any(t.flowers for t in planted.images.values())
    for record_id, truth in planted.images.items():
        image = cv2.imread(str(folder / record_id)).astype(int)
        pink = (image[..., 2] - image[..., 1] > 50) & (image[..., 0] - image[..., 1] > 10)
        pink &= _mask(folder, record_id) == 0
        if truth.flowers:
            x, y, width, height = map(int, truth.flowers)
            assert pink[y : y + height, x : x + width].sum() > 150
        else:
            assert pink.sum() < 150


def test_a_fixed_box_does_not_find_the_beetles(generated: tuple[Path, Planted]) -> None:
    _, planted = generated
    sizes = np.array([(t.width, t.height) for t in planted.images.values()], dtype=float)
    boxes = np.array([t.box for t in planted.images.values()]) / np.hstack([sizes, sizes])
    fixed = boxes.mean(axis=0)
    low = np.maximum(boxes[:, :2], fixed[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], fixed[:2] + fixed[2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    iou = shared / (boxes[:, 2] * boxes[:, 3] + fixed[2] * fixed[3] - shared)
    assert iou.mean() < 0.4


def test_manifest_says_what_planted_json_says(generated: tuple[Path, Planted]) -> None:
    folder, planted = generated
    assert read_planted(folder / "planted.json") == planted
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["path"] for r in rows] == list(planted.images)
    for row in rows:
        truth = planted.images[row["path"]]
        assert (row["label"], row["split"], row["mask"]) == (truth.label, truth.split, mask_path(row["path"]))
        assert tuple(float(row[k]) for k in ("x", "y", "width", "height")) == truth.box
        assert row["group"] == ("pink flowers" if truth.flowers else "no flowers")


def test_the_manifest_loads_as_a_dataset(generated: tuple[Path, Planted]) -> None:
    from rsam_app.config import Card
    from rsam_app.data import load_dataset

    folder, planted = generated
    card = Card(name="demo", layout="manifest", root=str(folder / "manifest.csv"), licence="CC0-1.0")
    dataset = load_dataset(card)
    assert not dataset.skipped
    assert {r.id for r in dataset.records} == set(planted.images)
    assert set(dataset.classes) == {s.name for s in SPECIES[:5]}
    for record in dataset.records:
        truth = planted.images[record.id]
        assert (record.label, record.split, record.boxes) == (truth.label, truth.split, (truth.box,))
        assert (record.width, record.height) == (truth.width, truth.height)
        assert record.mask == folder / mask_path(record.id)
        assert 1 in record.mask_values and 0 not in record.mask_values


@pytest.mark.parametrize("seed", [0, 1])
def test_plan_plants_what_it_states(seed: int) -> None:
    plans = plan_images(seed, images_per_species=120, species=8)
    train = [p for p in plans if p.split == "train"]
    wrong = [p for p in plans if p.label != p.species]
    assert len(wrong) == round(WRONG_SHARE * len(train))
    assert all(p.split == "train" for p in wrong)
    assert len({p.species for p in wrong}) >= 6  # not one species' alone

    def flowers(split: str, own: bool) -> float:
        return float(np.mean([p.flowers for p in plans if p.split == split and (p.species == SHORTCUT) is own]))

    assert flowers("train", own=True) == pytest.approx(0.9, abs=0.01)
    assert flowers("train", own=False) < 0.05
    assert flowers("test", own=True) == flowers("test", own=False) == 0.5


def test_splits_are_disjoint_and_stratified_and_numbers_are_shuffled() -> None:
    plans = plan_images(0, images_per_species=40, species=6)
    assert len({p.id for p in plans}) == len(plans) == 240
    counts = {(s.name, split): 0 for s in SPECIES[:6] for split in ("train", "val", "test")}
    for plan in plans:
        counts[plan.species, plan.split] += 1
    assert {split: {counts[s.name, split] for s in SPECIES[:6]} for split in ("train", "val", "test")} == {
        "train": {24},
        "val": {4},
        "test": {12},
    }
    assert {p.label for p in plans if p.split == "train"} == {s.name for s in SPECIES[:6]}
    order = [[s.name for s in SPECIES].index(p.species) for p in plans]
    assert abs(np.corrcoef(order, range(240))[0, 1]) < 0.3


def test_the_smallest_demo_keeps_the_alike_pair_and_the_shortcut() -> None:
    names = {s.name for s in SPECIES[:4]}
    assert {*ALIKE, SHORTCUT} <= names
    assert len({s.name for s in SPECIES}) == len(SPECIES)


@pytest.mark.parametrize(("species", "images"), [(3, 12), (9, 12), (8, 9)])
def test_impossible_sizes_are_refused(tmp_path: Path, species: int, images: int) -> None:
    with pytest.raises(ValueError, match="species must be 4 to 8"):
        generate(tmp_path / "new", species=species, images_per_species=images)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seed": 0, "images": {"a": {}}, "alike": ["x", "y"]}', "null"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "planted.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"planted\.json.*rsam demo"):
        read_planted(path)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"planted\.json: cannot be read"):
        read_planted(tmp_path / "planted.json")
