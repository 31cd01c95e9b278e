"""The real photographs, with their irregularities, loaded by the cards of this repository.

Expected counts come from the release's own lists, so that the tests hold for the whole releases and for parts of them.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from rsam_app.config import load_card
from rsam_app.data import Dataset, load_dataset, read_mask


def load(name: str, photographs: Path, factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSAM_DATA", str(photographs))
        patch.setenv("XDG_CACHE_HOME", str(factory.mktemp("cache")))
        return load_dataset(load_card(name))


def rows(path: Path) -> list[list[str]]:
    """Return the cells of each line of a list."""
    return [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def check_counts(dataset: Dataset, test: int, to_train_on: int) -> None:
    """Check the images by split, with about a tenth of those to train on held out, and one at least of each class."""
    counts = Counter(r.split for r in dataset.records)
    assert counts == {"train": to_train_on - counts["val"], "val": counts["val"], "test": test}
    assert counts["val"] == pytest.approx(to_train_on / 10, rel=0.2)
    assert {r.label for r in dataset.split("val")} == set(dataset.classes)


@pytest.fixture(scope="module")
def birds(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load("cub_200_2011", photographs, tmp_path_factory)


@pytest.fixture(scope="module")
def bird_lists(photographs: Path) -> Path:
    return photographs / "CUB_200_2011"


@pytest.fixture(scope="module")
def pets(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load("oxford_iiit_pet", photographs, tmp_path_factory)


@pytest.fixture(scope="module")
def annotations(photographs: Path) -> Path:
    return photographs / "oxford-iiit-pet" / "annotations"


@pytest.fixture(scope="module")
def listed(annotations: Path) -> dict[str, list[str]]:
    """The names of the pet images, by the release's split."""
    return {split: [name for name, *_ in rows(annotations / f"{split}.txt")] for split in ("trainval", "test")}


def test_all_birds_are_loaded(birds, bird_lists) -> None:
    in_training = Counter(flag for _, flag in rows(bird_lists / "train_test_split.txt"))
    check_counts(birds, in_training["0"], in_training["1"])
    assert len(birds.classes) == len({label for _, label in rows(bird_lists / "image_class_labels.txt")})
    assert birds.classes[0] == "001.Black_footed_Albatross"
    to_train_on = Counter(r.label for r in birds.records if r.split != "test")
    held_out = Counter(r.label for r in birds.split("val"))
    assert all(1 <= held_out[label] < count / 2 for label, count in to_train_on.items())
    assert birds.skipped == ()
    assert all(len(r.boxes) == 1 for r in birds.records)


def test_boxes_of_birds_are_not_clipped(birds, bird_lists) -> None:
    boxes = {key: [float(v) for v in box] for key, *box in rows(bird_lists / "bounding_boxes.txt")}
    expected = set()
    for key, name in rows(bird_lists / "images.txt"):
        x, y, w, h = boxes[key]
        width, height = Image.open(bird_lists / "images" / name).size
        if x + w > width + 1e-6 or y + h > height + 1e-6:
            expected.add(f"images/{name}")
    past = [r for r in birds.records for x, y, w, h in r.boxes if x + w > r.width + 1e-6 or y + h > r.height + 1e-6]
    assert {r.id for r in past} == expected and len(expected) >= 14


def test_all_pets_are_loaded(pets, listed) -> None:
    check_counts(pets, len(listed["test"]), len(listed["trainval"]))
    breeds = {split: {name.rpartition("_")[0] for name in names} for split, names in listed.items()}
    assert len(pets.classes) == len(breeds["trainval"] | breeds["test"]) == 37
    assert pets.classes[:2] == ("Abyssinian", "american_bulldog")
    assert set(pets.classes) - {r.label for r in pets.split("test")} == breeds["trainval"] - breeds["test"]
    assert pets.skipped == ()


def test_unlisted_pets_are_no_records(pets, listed, annotations) -> None:
    unlisted = {p.stem for p in (annotations.parent / "images").glob("*.jpg")} - {*listed["trainval"], *listed["test"]}
    assert {"Abyssinian_34", "Abyssinian_82"} <= unlisted
    assert {f"images/{name}.jpg" for name in unlisted}.isdisjoint(r.id for r in pets.records)


def test_heads_of_pets(pets, listed, annotations) -> None:
    boxed = {r.id: r for r in pets.records if r.boxes}
    files = {name: annotations / "xmls" / f"{name}.xml" for names in listed.values() for name in names}
    texts = {name: path.read_text() for name, path in files.items() if path.exists()}
    assert set(boxed) == {f"images/{name}.jpg" for name in texts} and len(boxed) >= 689
    assert all(r.split != "test" for r in boxed.values())
    assert len(boxed["images/Bengal_105.jpg"].boxes) == 2
    assert {"images/Abyssinian_104.jpg", "images/Bengal_111.jpg", "images/Bengal_175.jpg"}.isdisjoint(boxed)
    # Counting from 1 fits: no box reaches past the right or lower edge, and hardly any past the others, by rounding.
    edges = [(x, y, r.width - x - w, r.height - y - h) for r in boxed.values() for x, y, w, h in r.boxes]
    assert min(min(right, lower) for _, _, right, lower in edges) == 0
    corners = [box for text in texts.values() for box in re.findall(r"<bndbox>.*?</bndbox>", text, re.DOTALL)]
    at_zero = [box for box in corners if re.search(r"<[xy]min>0(\.0*)?</", box)]
    assert sum(min(x, y) < 0 for x, y, _, _ in edges) == len(at_zero) <= len(edges) / 100


def test_trimaps_of_pets(pets, listed, annotations) -> None:
    masked = [r for r in pets.records if r.mask]
    names = [*listed["trainval"], *listed["test"]]
    assert len(masked) == sum((annotations / "trimaps" / f"{name}.png").exists() for name in names) >= 691
    assert pets.skipped_masks == ()
    mask = read_mask(masked[0])
    assert mask.shape == (masked[0].height, masked[0].width)
    assert 0.01 < mask.mean() < 0.99


def test_what_was_assumed_about_the_photographs_is_noted(birds) -> None:
    held_out = len(birds.split("val"))
    assert any(f"about a tenth of each class in train ({held_out:,} images)" in note for note in birds.notes)
