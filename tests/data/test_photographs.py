"""The real photographs, with their real oddities, through the cards of this repository."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rsam_app.config import load_card
from rsam_app.data import Dataset, load_dataset, read_mask
from rsam_app.data.summary import describe


def load(name: str, photographs: Path, factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSAM_DATA", str(photographs))
        patch.setenv("XDG_CACHE_HOME", str(factory.mktemp("cache")))
        return load_dataset(load_card(name))


@pytest.fixture(scope="module")
def birds(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load("cub_200_2011", photographs, tmp_path_factory)


@pytest.fixture(scope="module")
def pets(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load("oxford_iiit_pet", photographs, tmp_path_factory)


def test_birds_are_all_there(birds) -> None:
    assert Counter(r.split for r in birds.records) == {"train": 1350, "val": 150, "test": 1389}
    assert len(birds.classes) == 50
    assert birds.classes[0] == "001.Black_footed_Albatross"
    assert set(Counter(r.label for r in birds.split("val")).values()) == {3}
    assert birds.skipped == ()
    assert all(len(r.boxes) == 1 for r in birds.records)


def test_boxes_of_birds_are_not_clipped(birds) -> None:
    past = [r for r in birds.records for x, y, w, h in r.boxes if x + w > r.width + 1e-6 or y + h > r.height + 1e-6]
    assert len(past) == 14


def test_pets_are_all_there(pets) -> None:
    assert Counter(r.split for r in pets.records) == {"train": 623, "val": 69, "test": 335}
    assert len(pets.classes) == 37
    assert pets.classes[:2] == ("Abyssinian", "american_bulldog")
    assert len(set(pets.classes) - {r.label for r in pets.split("test")}) == 13
    assert pets.skipped == ()


def test_unlisted_pets_are_no_records(pets) -> None:
    assert {"images/Abyssinian_34.jpg", "images/Abyssinian_82.jpg"}.isdisjoint(r.id for r in pets.records)


def test_heads_of_pets(pets) -> None:
    boxed = {r.id: r for r in pets.records if r.boxes}
    assert len(boxed) == 689
    assert all(r.split != "test" for r in boxed.values())
    assert len(boxed["images/Bengal_105.jpg"].boxes) == 2
    assert {"images/Abyssinian_104.jpg", "images/Bengal_111.jpg", "images/Bengal_175.jpg"}.isdisjoint(boxed)
    # Counting from 1 fits: no box goes past the right or lower edge, and one past the others, by rounding.
    edges = [(x, y, r.width - x - w, r.height - y - h) for r in boxed.values() for x, y, w, h in r.boxes]
    assert min(min(right, lower) for _, _, right, lower in edges) == 0
    assert sum(min(x, y) < 0 for x, y, _, _ in edges) == 1


def test_trimaps_of_pets(pets) -> None:
    masked = [r for r in pets.records if r.mask]
    assert len(masked) == 691
    assert pets.skipped_masks == ()
    mask = read_mask(masked[0])
    assert mask.shape == (masked[0].height, masked[0].width)
    assert 0.01 < mask.mean() < 0.99


def test_the_photographs_are_described(birds) -> None:
    text = describe(birds)
    assert "cub_200_2011: 2,889 images, 50 classes" in text
    assert "stratified tenth of train (150 images)" in text
