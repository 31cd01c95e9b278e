"""Pasting keeps the object; the gap of models that use the object, and of one that uses the background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation.known_models import SIZE, redness, runner_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rsam_app.data.records import Record
from rsam_app.evaluation.robustness.background import (
    Pair,
    background_gap,
    cover,
    pair_backgrounds,
    paste,
    removed_box,
    widest_strip,
    without_object,
)
from rsam_app.evaluation.robustness.subset import Subset, load_subset

LABELS = ("dawn", "noon")
GROUND = {"dawn": (30, 60, 200), "noon": (40, 200, 60)}


def boxed(left: float, top: float, width: float, height: float, size: int = SIZE) -> Record:
    return Record("r", Path("r"), "dawn", "test", size, size, boxes=((left, top, width, height),))


@pytest.fixture(scope="module")
def meadow(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Red squares, bright on noon's background and dark on dawn's: both object and background determine the class."""
    folder = tmp_path_factory.mktemp("meadow")
    rng = np.random.default_rng(0)
    records = []
    for number in range(12):
        label = LABELS[number % 2]
        pixels = np.full((SIZE, SIZE, 3), GROUND[label], np.uint8)
        left, top = rng.integers(20, 50, 2)
        pixels[top : top + 24, left : left + 24] = (250, 0, 0) if label == "noon" else (180, 0, 0)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        box = (float(left), float(top), 24.0, 24.0)
        records.append(Record(path.name, path, label, "test", SIZE, SIZE, boxes=(box,)))
    return records


def subset_of(records: list[Record]) -> Subset:
    return load_subset(records, {label: i for i, label in enumerate(LABELS)}, SIZE)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 60), st.floats(0, 60), st.floats(3, 36), st.floats(3, 36), st.integers(0, 9))
def test_the_paste_leaves_object_and_background_pixels_untouched(
    left: float, top: float, width: float, height: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image, background = rng.integers(0, 255, (2, SIZE, SIZE, 3), dtype=np.uint8)
    covered = cover(boxed(left, top, width, height), SIZE)
    pasted = paste(image, covered, background)
    np.testing.assert_array_equal(pasted[covered == 1], image[covered == 1])
    np.testing.assert_array_equal(pasted[covered == 0], background[covered == 0])
    assert covered.sum() == pytest.approx(width * height, rel=1e-3)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 60), st.floats(0, 60), st.floats(3, 60), st.floats(3, 60))
def test_the_object_is_gone_and_the_rest_as_it_was(left: float, top: float, width: float, height: float) -> None:
    record = boxed(left, top, width, height)
    covered = cover(record, SIZE)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[..., 1] = np.arange(SIZE)  # background without red
    image[covered > 0, 0] = 255
    emptied = without_object(image, covered)
    assert (emptied is None) == (widest_strip(covered) is None)
    if emptied is not None:
        assert (emptied[..., 0] == 0).all()
        box = removed_box(covered)
        assert box is not None
        kept = np.ones((SIZE, SIZE), bool)
        kept[box] = False
        np.testing.assert_array_equal(emptied[kept], image[kept])


def test_tiles_are_mirrored_so_that_seams_meet() -> None:
    """On a linear gradient, a tile next to its mirror image makes steps of at most one."""
    image = np.repeat(np.arange(SIZE, dtype=np.uint8)[:, None], SIZE, axis=1)[..., None].repeat(3, axis=2)
    covered = cover(boxed(0, 40, SIZE, 56), SIZE)
    emptied = without_object(image, covered)
    assert emptied is not None
    assert np.abs(np.diff(emptied[:, 0, 0].astype(int))).max() <= 1


def test_an_object_that_fills_the_image_leaves_no_background() -> None:
    covered = cover(boxed(2, 3, 92, 92), SIZE)
    assert widest_strip(covered) is None
    assert without_object(np.zeros((SIZE, SIZE, 3), np.uint8), covered) is None
    assert widest_strip(np.zeros((SIZE, SIZE))) is None


def test_a_mask_is_preferred_to_a_box(tmp_path: Path) -> None:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[10:20, 10:20] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    record = replace(boxed(40, 40, 20, 20), mask=tmp_path / "mask.png")
    np.testing.assert_array_equal(cover(record, SIZE), mask)
    assert not cover(replace(record, boxes=(), mask=None), SIZE).any()


def test_pairs_are_of_the_class_and_never_the_image_itself(meadow: list[Record]) -> None:
    pairs, without = pair_backgrounds(meadow, meadow, SIZE, seed=0)
    assert len(pairs) == len(meadow)
    assert without == 0
    for pair in pairs:
        assert pair.same.label == meadow[pair.row].label
        assert meadow[pair.row].id not in (pair.same.id, pair.random.id)
    assert {pair.random.label for pair in pairs} == set(LABELS)
    assert (pairs, without) == pair_backgrounds(meadow, meadow, SIZE, seed=0)
    assert pairs != pair_backgrounds(meadow, meadow, SIZE, seed=1)[0]


def test_images_without_another_of_their_class_are_counted(meadow: list[Record]) -> None:
    dawn = [r for r in meadow if r.label == "dawn"]
    noon = next(r for r in meadow if r.label == "noon")
    pairs, without = pair_backgrounds([*dawn, noon], [*dawn, noon], SIZE, seed=0)
    assert without >= 1
    assert all(pair.row < len(dawn) for pair in pairs)


def by_object(images: torch.Tensor) -> tuple[torch.Tensor, None]:
    strongest = redness(images).amax(dim=(1, 2))  # .68 and .41, minus .3
    return torch.stack([torch.zeros_like(strongest), 50 * (strongest - 0.5)], dim=1), None


def by_corner(images: torch.Tensor) -> tuple[torch.Tensor, None]:
    return torch.stack([images[:, 2, 0, 0], images[:, 1, 0, 0]], dim=1), None


def test_the_gap_is_zero_by_the_object_and_large_by_the_background(meadow: list[Record]) -> None:
    subset = subset_of(meadow)
    pairs, _ = pair_backgrounds(meadow, meadow, SIZE, seed=0)
    seen = background_gap(runner_of(by_object), subset, pairs)
    assert seen["top1_original"] == seen["top1_same"] == seen["top1_random"] == 1
    assert seen["gap"] == seen["standard_error"] == 0
    fooled = background_gap(runner_of(by_corner), subset, pairs)
    other = np.mean([pair.random.label != meadow[pair.row].label for pair in pairs])
    assert fooled["top1_same"] == 1
    assert fooled["gap"] == pytest.approx(other)
    assert fooled["standard_error"] == pytest.approx(np.sqrt(other * (1 - other) / (len(pairs) - 1)))


def test_no_pairs_are_rejected(meadow: list[Record]) -> None:
    with pytest.raises(ValueError, match="backgrounds"):
        background_gap(runner_of(by_object), subset_of(meadow), [])
    one = background_gap(runner_of(by_object), subset_of(meadow), [Pair(0, meadow[2], meadow[1])])
    assert one["standard_error"] is None
